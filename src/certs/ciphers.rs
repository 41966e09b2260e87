//! Cipher suites as administrators write them: OpenSSL's names and expressions.
//!
//! The rules are those of OpenSSL's `ciphers(1)` (`ssl/ssl_ciph.c`): what is added goes behind what is there,
//! `!` removes for good, `-` removes until it is added again, `+` before a name moves to the end, `+` between
//! names means both. Two things differ. Names of TLS 1.3 suites may stand in the list as well; without any, all
//! three are on. And nothing is ignored: a word that OpenSSL does not know, and one that asks for suites of which
//! there are none here, is an error that names it.

use crate::suggest;
use std::fmt;

/// Longest list in bytes.
pub const CIPHER_LIST_BYTES_MAX: usize = 4096;

/// A suite that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Suite {
    Tls13Aes256Gcm,
    Tls13ChaCha20,
    Tls13Aes128Gcm,
    EcdsaAes256Gcm,
    RsaAes256Gcm,
    EcdsaChaCha20,
    RsaChaCha20,
    EcdsaAes128Gcm,
    RsaAes128Gcm,
}

use Suite::{
    EcdsaAes128Gcm, EcdsaAes256Gcm, EcdsaChaCha20, RsaAes128Gcm, RsaAes256Gcm, RsaChaCha20, Tls13Aes128Gcm,
    Tls13Aes256Gcm, Tls13ChaCha20,
};

const TLS13: [Suite; 3] = [Tls13Aes256Gcm, Tls13ChaCha20, Tls13Aes128Gcm];
/// In the order in which OpenSSL prefers them.
const TLS12: [Suite; 6] = [
    EcdsaAes256Gcm,
    RsaAes256Gcm,
    EcdsaChaCha20,
    RsaChaCha20,
    EcdsaAes128Gcm,
    RsaAes128Gcm,
];

impl Suite {
    /// OpenSSL's name.
    pub fn name(self) -> &'static str {
        match self {
            Tls13Aes256Gcm => "TLS_AES_256_GCM_SHA384",
            Tls13ChaCha20 => "TLS_CHACHA20_POLY1305_SHA256",
            Tls13Aes128Gcm => "TLS_AES_128_GCM_SHA256",
            EcdsaAes256Gcm => "ECDHE-ECDSA-AES256-GCM-SHA384",
            RsaAes256Gcm => "ECDHE-RSA-AES256-GCM-SHA384",
            EcdsaChaCha20 => "ECDHE-ECDSA-CHACHA20-POLY1305",
            RsaChaCha20 => "ECDHE-RSA-CHACHA20-POLY1305",
            EcdsaAes128Gcm => "ECDHE-ECDSA-AES128-GCM-SHA256",
            RsaAes128Gcm => "ECDHE-RSA-AES128-GCM-SHA256",
        }
    }

    /// Whether it belongs to TLS 1.3.
    pub fn is_tls13(self) -> bool {
        TLS13.contains(&self)
    }

    fn is_strong(self) -> bool {
        !matches!(self, EcdsaAes128Gcm | RsaAes128Gcm)
    }

    /// Whether it needs an ECDSA or Ed25519 key, rather than an RSA one. TLS 1.3 leaves that open.
    pub fn is_ecdsa(self) -> bool {
        matches!(self, EcdsaAes256Gcm | EcdsaChaCha20 | EcdsaAes128Gcm)
    }

    fn is_chacha(self) -> bool {
        matches!(self, EcdsaChaCha20 | RsaChaCha20)
    }
}

/// A class of suites of TLS 1.2: OpenSSL's word, and which of ours are in it.
struct Class {
    word: &'static str,
    holds: fn(Suite) -> bool,
}

const fn class(word: &'static str, holds: fn(Suite) -> bool) -> Class {
    Class { word, holds }
}

fn all(_: Suite) -> bool {
    true
}

/// The words that hold some of ours.
const CLASSES: &[Class] = &[
    class("ALL", all),
    class("DEFAULT", all),
    class("HIGH", all),
    class("TLSv1.2", all),
    class("ECDH", all),
    class("ECDHE", all),
    class("EECDH", all),
    class("kECDHE", all),
    class("kEECDH", all),
    class("ECDSA", Suite::is_ecdsa),
    class("aECDSA", Suite::is_ecdsa),
    class("aRSA", |suite| !suite.is_ecdsa()),
    class("AES", |suite| !suite.is_chacha()),
    class("AESGCM", |suite| !suite.is_chacha()),
    class("AES256", |suite| !suite.is_chacha() && suite.is_strong()),
    class("AES128", |suite| !suite.is_strong()),
    class("CHACHA20", Suite::is_chacha),
];

/// Words of OpenSSL that hold none of ours. They may be excluded.
const EMPTY: &[&str] = &[
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "MEDIUM",
    "LOW",
    "EXP",
    "EXPORT",
    "EXPORT40",
    "EXPORT56",
    "eNULL",
    "NULL",
    "aNULL",
    "kRSA",
    "RSA",
    "kDHr",
    "kDHd",
    "kDH",
    "kDHE",
    "kEDH",
    "DH",
    "DHE",
    "EDH",
    "ADH",
    "AECDH",
    "kECDHr",
    "kECDHe",
    "kECDH",
    "aECDH",
    "aDH",
    "aDSS",
    "DSS",
    "TLSv1",
    "TLSv1.0",
    "SSLv3",
    "SSLv2",
    "AESCCM",
    "AESCCM8",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "ARIAGCM",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "3DES",
    "DES",
    "RC4",
    "RC2",
    "IDEA",
    "SEED",
    "CBC",
    "MD5",
    "SHA",
    "SHA1",
    "SHA256",
    "SHA384",
    "GOST94",
    "GOST89MAC",
    "GOST12",
    "GOST89",
    "kGOST",
    "kGOST18",
    "aGOST",
    "aGOST01",
    "aGOST12",
    "PSK",
    "kPSK",
    "kECDHEPSK",
    "kDHEPSK",
    "kRSAPSK",
    "aPSK",
    "SRP",
    "kSRP",
    "aSRP",
    "KRB5",
    "FIPS",
];

/// Which suites may be used, the preferred one first, and the words they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CipherList {
    said: String,
    suites: Vec<Suite>,
}

impl Default for CipherList {
    /// Everything. In TLS 1.2 keys cannot be renewed, and AES-GCM ends a connection after 2^24 records; CHACHA20
    /// has no such end, so there it comes first.
    fn default() -> CipherList {
        let mut suites = TLS13.to_vec();
        suites.extend(TLS12.iter().filter(|suite| suite.is_chacha()));
        suites.extend(TLS12.iter().filter(|suite| !suite.is_chacha()));
        CipherList {
            said: String::new(),
            suites,
        }
    }
}

/// Why a list was refused. Each names the word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// No words.
    #[error("the list of cipher suites is empty")]
    Empty,
    /// Far too many words.
    #[error("the list of cipher suites has more than {CIPHER_LIST_BYTES_MAX} bytes")]
    TooLong,
    /// OpenSSL has no such word.
    #[error("{word:?} is no cipher suite and no class of them{}", meant(.nearest))]
    Unknown {
        /// The word.
        word: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A word for suites that are not there.
    #[error("{word:?} asks for suites of which there are none here; take it out, or write !{word}. There are {known}", known = names())]
    None {
        /// The word.
        word: String,
    },
    /// An instruction that is not carried out.
    #[error("{0:?} is not supported; what it demands of keys and suites holds here for all of them")]
    Instruction(String),
    /// An element without a meaning.
    #[error(
        "{0:?} is not understood; an element is a name, or names joined by '+', behind '!', '-', '+' or nothing"
    )]
    Form(String),
    /// TLS 1.3 has no suite left.
    #[error(
        "no suite of TLS 1.3 is left, and without one no link comes about; keep one of {}",
        tls13_names()
    )]
    NoTls13,
}

fn meant(nearest: &Option<&'static str>) -> String {
    nearest
        .map(|word| format!("; did you mean {word}?"))
        .unwrap_or_default()
}

fn names() -> String {
    TLS13
        .iter()
        .chain(&TLS12)
        .map(|suite| suite.name())
        .collect::<Vec<_>>()
        .join(", ")
}

fn tls13_names() -> String {
    TLS13.map(Suite::name).join(", ")
}

/// What an element does with the suites it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Add,
    Remove,
    RemoveForGood,
    ToTheEnd,
}

/// The suites of one version while the words are carried out, and whether each is on.
#[derive(Default)]
struct Table(Vec<(Suite, bool)>);

impl Table {
    fn act(&mut self, action: Action, holds: impl Fn(Suite) -> bool) {
        match action {
            Action::RemoveForGood => self.0.retain(|(suite, _)| !holds(*suite)),
            Action::Add => {
                let rest = self.take(|suite, is_on| !is_on && holds(suite));
                self.0.extend(rest.into_iter().map(|(suite, _)| (suite, true)));
            }
            Action::ToTheEnd => {
                let rest = self.take(|suite, is_on| is_on && holds(suite));
                self.0.extend(rest);
            }
            // What was removed last is what OpenSSL adds first if it is asked for again.
            Action::Remove => {
                let mut off = self.take(|suite, is_on| is_on && holds(suite));
                off.iter_mut().for_each(|(_, is_on)| *is_on = false);
                off.append(&mut self.0);
                self.0 = off;
            }
        }
    }

    fn take(&mut self, picks: impl Fn(Suite, bool) -> bool) -> Vec<(Suite, bool)> {
        let (taken, rest) = self.0.iter().partition(|(suite, is_on)| picks(*suite, *is_on));
        self.0 = rest;
        taken
    }

    fn on(&self) -> impl Iterator<Item = Suite> {
        self.0.iter().filter(|(_, is_on)| *is_on).map(|(suite, _)| *suite)
    }
}

impl CipherList {
    /// Reads an OpenSSL list.
    ///
    /// # Errors
    /// The first word that is unknown, or that asks for what there is not.
    pub fn parse(text: &str) -> Result<CipherList, CipherError> {
        if text.len() > CIPHER_LIST_BYTES_MAX {
            return Err(CipherError::TooLong);
        }
        let words: Vec<&str> = text
            .split([':', ',', ';', ' '])
            .filter(|word| !word.is_empty())
            .collect();
        if words.is_empty() {
            return Err(CipherError::Empty);
        }
        let mut old = Table(TLS12.map(|suite| (suite, false)).to_vec());
        // The suites of TLS 1.3 are on until the first one is asked for by name.
        let mut new = Table(TLS13.map(|suite| (suite, true)).to_vec());
        let mut is_new_named = false;
        for word in &words {
            if *word == "@STRENGTH" {
                old.act(Action::ToTheEnd, Suite::is_strong);
                old.act(Action::ToTheEnd, |suite| !suite.is_strong());
                continue;
            }
            if word.starts_with('@') {
                return Err(CipherError::Instruction((*word).to_owned()));
            }
            let (action, name) = action(word);
            if let Some(suite) = TLS13.into_iter().find(|suite| suite.name() == name) {
                if action == Action::Add && !is_new_named {
                    is_new_named = true;
                    new.0.iter_mut().for_each(|(_, is_on)| *is_on = false);
                }
                new.act(action, |other| other == suite);
                continue;
            }
            let holds = element(word, name, action)?;
            old.act(action, |suite| holds.contains(&suite));
        }
        let mut suites: Vec<Suite> = new.on().collect();
        if suites.is_empty() {
            return Err(CipherError::NoTls13);
        }
        suites.extend(old.on());
        Ok(CipherList {
            said: words.join(":"),
            suites,
        })
    }

    /// The suites, the preferred one first; those of TLS 1.3 before those of TLS 1.2.
    pub fn suites(&self) -> &[Suite] {
        &self.suites
    }
}

/// The words the list came from, with colons between them; nothing for the default.
impl fmt::Display for CipherList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

fn action(word: &str) -> (Action, &str) {
    let signs = [
        ('!', Action::RemoveForGood),
        ('-', Action::Remove),
        ('+', Action::ToTheEnd),
    ];
    for (sign, action) in signs {
        if let Some(name) = word.strip_prefix(sign) {
            return (action, name);
        }
    }
    (Action::Add, word)
}

/// The suites of TLS 1.2 that an element names.
fn element(word: &str, name: &str, action: Action) -> Result<Vec<Suite>, CipherError> {
    let mut holds = TLS12.to_vec();
    for part in name.split('+') {
        if part.is_empty() {
            return Err(CipherError::Form(word.to_owned()));
        }
        let suite = TLS12.into_iter().find(|suite| suite.name() == part);
        let class = CLASSES.iter().find(|class| class.word == part);
        match (suite, class) {
            (Some(suite), _) => holds.retain(|other| *other == suite),
            (None, Some(class)) => holds.retain(|suite| (class.holds)(*suite)),
            (None, None) if EMPTY.contains(&part) || is_suite_of_openssl(part) => holds.clear(),
            (None, None) => {
                return Err(CipherError::Unknown {
                    word: part.to_owned(),
                    nearest: nearest(part),
                });
            }
        }
    }
    if holds.is_empty() && action == Action::Add {
        return Err(CipherError::None {
            word: word.to_owned(),
        });
    }
    Ok(holds)
}

/// Whether it has the form of a suite's name that OpenSSL has and we have not, such as `DES-CBC3-SHA`: known words
/// joined by dashes.
fn is_suite_of_openssl(name: &str) -> bool {
    const PARTS: &[&str] = &[
        "ECDHE",
        "DHE",
        "EDH",
        "ADH",
        "AECDH",
        "ECDH",
        "DH",
        "RSA",
        "ECDSA",
        "DSS",
        "PSK",
        "SRP",
        "AES128",
        "AES256",
        "3DES",
        "EDE",
        "CBC",
        "CBC3",
        "GCM",
        "CCM",
        "CCM8",
        "CHACHA20",
        "POLY1305",
        "CAMELLIA128",
        "CAMELLIA256",
        "ARIA128",
        "ARIA256",
        "RC4",
        "RC2",
        "DES",
        "IDEA",
        "SEED",
        "NULL",
        "MD5",
        "SHA",
        "SHA1",
        "SHA256",
        "SHA384",
        "EXP",
        "GOST2001",
        "GOST94",
        "GOST89",
        "GOST12",
    ];
    name.contains('-') && name.split('-').all(|part| PARTS.contains(&part))
}

/// The word nearest to one that nobody knows: the same but for case, dashes and underscores, or a slip away.
fn nearest(word: &str) -> Option<&'static str> {
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_uppercase();
    let wanted = plain(word);
    let known = || {
        let suites = TLS13.iter().chain(&TLS12).map(|suite| suite.name());
        suites.chain(CLASSES.iter().map(|class| class.word))
    };
    // TLS' own names say what OpenSSL leaves out.
    let without = wanted.replacen("TLSECDHE", "ECDHE", 1).replacen("WITH", "", 1);
    known()
        .find(|name| plain(name) == wanted || plain(name) == without)
        .or_else(|| suggest::nearest(word, known()))
}
