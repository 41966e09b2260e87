//! Both sides of the conversation against each other, and everything that must not get in.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::causality::SiteId;
use zeroize::Zeroizing;

const NOW: u64 = 1_000;
const UNTIL: u64 = 2_000;

fn site(name: &str) -> SiteId {
    SiteId::new(name.as_bytes()).unwrap()
}

fn fingerprint(byte: u8) -> Fingerprint {
    let pairs = vec![format!("{byte:02X}"); 32];
    Fingerprint::parse(&format!("SHA256:{}", pairs.join(":"))).unwrap()
}

fn secret(byte: u8) -> Secret {
    Secret::new(Zeroizing::new([byte; SECRET_BYTES]))
}

fn invitation() -> Invitation {
    Invitation {
        address: "[2001:db8::1]:9400".into(),
        database_id: "orders".into(),
        site: site("a"),
        fingerprint: fingerprint(0xA0),
        secret: secret(7),
        until_unix_s: UNTIL,
    }
}

fn bound() -> Bound {
    Bound {
        database_id: "orders".into(),
        inviter: (site("a"), fingerprint(0xA0)),
        guest: (site("b"), fingerprint(0xB0)),
        address: "b.example.net:9400".into(),
        is_empty: true,
        is_agreed: false,
    }
}

fn standing() -> Standing {
    Standing {
        database_id: "orders".into(),
        me: (site("a"), fingerprint(0xA0)),
        peers: vec![site("c")],
        known_as: None,
        is_former: false,
        has_whole_logs: true,
        began_empty: true,
    }
}

fn desk() -> Desk {
    let mut desk = Desk::default();
    desk.open(secret(7), UNTIL, NOW).unwrap();
    desk
}

/// What a visitor asks, after its way over the wire.
fn ask(secret: Secret, bound: Bound) -> Ask {
    let line = Visit::new(secret, bound).ask().encode().unwrap();
    match Frame::decode(&line).unwrap() {
        Frame::Ask(ask) => ask,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_is_read_as_it_was_written() {
    let line = invitation().line();
    let read = Invitation::parse(&format!(" {}\n", *line)).unwrap();
    assert_eq!(read.line(), line);
    assert_eq!(read.fingerprint, fingerprint(0xA0));
    assert!(!format!("{read:?}").contains("0707"), "the secret is not shown");
    // Nothing in it means anything to a shell, but the brackets of IPv6.
    assert!(
        line.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-./:[]".contains(&b)),
        "{}",
        *line
    );
}

#[test]
fn what_is_no_line_is_named_without_quoting_it() {
    let line = invitation().line();
    let parts: Vec<&str> = line.split('/').collect();
    assert_eq!(Invitation::parse("hello").unwrap_err(), LineError::Form);
    let cut = &line[..line.len() - UNTIL.to_string().len() - 1];
    assert_eq!(Invitation::parse(cut).unwrap_err(), LineError::Parts { found: 5 });
    for (at, what) in [
        (2, "address"),
        (3, "database"),
        (4, "site"),
        (5, "fingerprint"),
        (6, "secret"),
        (7, "end"),
    ] {
        let mut parts = parts.clone();
        parts[at] = "+";
        let why = Invitation::parse(&parts.join("/")).unwrap_err().to_string();
        assert!(why.contains(what) && !why.contains("0707"), "{why}");
    }
    assert!(Invitation::parse(&format!("{}{}", *line, "0".repeat(600))).is_err());
}

#[test]
fn addresses() {
    for good in ["h:1", "10.0.0.1:9400", "[::1]:65535", "a-b.example.net:9400"] {
        assert_eq!(check_address(good), Ok(good));
    }
    for bad in [
        "h", ":1", "h:0", "h:65536", "h:+1", "::1:9400", "[::x]:1", "a b:1", "h\n:1",
    ] {
        assert!(check_address(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_site_comes_in_once() {
    let mut desk = desk();
    let mut visit = Visit::new(secret(7), bound());
    let ask = ask(secret(7), bound());
    let welcome = desk.judge(&ask, fingerprint(0xB0), &standing(), NOW).unwrap();
    let welcome = Frame::decode(&welcome.encode().unwrap()).unwrap();
    let others = vec![site("c")];
    assert_eq!(visit.handle(welcome), Ok(Step::Keep { others }));
    assert_eq!(visit.handle(Frame::Done {}), Ok(Step::Joined));
    assert_eq!(visit.handle(Frame::Done {}), Err(VisitError::Order));
    let again = desk.judge(&ask, fingerprint(0xB0), &standing(), NOW);
    assert_eq!(again, Err(JoinRefused::NoInvitation));
    assert!(!desk.is_open(NOW));
}

#[test]
fn a_proof_holds_for_what_was_said_over_one_connection_only() {
    let ask = ask(secret(7), bound());
    let other = [
        Ask {
            site: frames::Name(site("d")),
            ..ask.clone()
        },
        Ask {
            address: "elsewhere:9400".into(),
            ..ask.clone()
        },
        Ask {
            database_id: "other".into(),
            ..ask.clone()
        },
        Ask {
            is_empty: false,
            ..ask.clone()
        },
        Ask {
            is_agreed: true,
            ..ask.clone()
        },
    ];
    for other in other {
        let refused = desk().judge(&other, fingerprint(0xB0), &standing(), NOW);
        assert_eq!(refused, Err(JoinRefused::WrongProof), "{other:?}");
    }
    // Another certificate of the guest, another one of the inviter.
    assert_eq!(
        desk().judge(&ask, fingerprint(1), &standing(), NOW),
        Err(JoinRefused::WrongProof)
    );
    let renewed = Standing {
        me: (site("a"), fingerprint(1)),
        ..standing()
    };
    assert_eq!(
        desk().judge(&ask, fingerprint(0xB0), &renewed, NOW),
        Err(JoinRefused::WrongProof)
    );
    assert!(desk().judge(&ask, fingerprint(0xB0), &standing(), NOW).is_ok());
}

#[test]
fn an_invitation_bears_few_wrong_proofs_and_ends() {
    let (right, mut wrong) = (ask(secret(7), bound()), ask(secret(7), bound()));
    wrong.address = "elsewhere:1".into();
    let mut tried = desk();
    // Who does not know the invitation's name takes nothing from it.
    let stranger = ask(secret(8), bound());
    for _ in 0..10 {
        let refused = tried.judge(&stranger, fingerprint(0xB0), &standing(), NOW);
        assert_eq!(refused, Err(JoinRefused::NoInvitation));
    }
    for _ in 0..WRONG_PROOFS_MAX {
        assert!(tried.is_open(NOW));
        assert_eq!(
            tried.judge(&wrong, fingerprint(0xB0), &standing(), NOW),
            Err(JoinRefused::WrongProof)
        );
    }
    assert_eq!(
        tried.judge(&right, fingerprint(0xB0), &standing(), NOW),
        Err(JoinRefused::NoInvitation)
    );
    assert_eq!(
        desk().judge(&right, fingerprint(0xB0), &standing(), UNTIL),
        Err(JoinRefused::NoInvitation)
    );
    let mut withdrawn = desk();
    assert_eq!((withdrawn.withdraw(), withdrawn.withdraw()), (1, 0));
    assert_eq!(
        withdrawn.judge(&right, fingerprint(0xB0), &standing(), NOW),
        Err(JoinRefused::NoInvitation)
    );
}

#[test]
fn so_many_are_open_at_a_time() {
    let mut desk = Desk::default();
    for _ in 0..INVITATIONS_MAX {
        desk.open(secret(1), UNTIL, NOW).unwrap();
    }
    assert_eq!(desk.open(secret(1), UNTIL, NOW), Err(DeskError::TooMany));
    assert!(
        desk.open(secret(1), UNTIL + 9, UNTIL).is_ok(),
        "the others have expired"
    );
}

/// Judged with a right proof; the invitation stays good.
#[track_caller]
fn refused(bound: Bound, standing: &Standing, expected: &JoinRefused) {
    let mut desk = desk();
    let guest = bound.guest.1;
    let refused = desk.judge(&ask(secret(7), bound), guest, standing, NOW);
    assert_eq!(refused.as_ref(), Err(expected));
    assert!(desk.is_open(NOW), "it is not used up");
}

#[test]
fn who_knows_the_secret_may_still_not_fit() {
    let (b, a) = (bound(), standing());
    let other = Bound {
        database_id: "other".into(),
        ..b.clone()
    };
    let (ours, theirs) = ("orders".into(), "other".into());
    refused(other, &a, &JoinRefused::Database { ours, theirs });
    let ourselves = Bound {
        guest: (site("a"), b.guest.1),
        ..b.clone()
    };
    refused(ourselves, &a, &JoinRefused::Ourselves(site("a")));
    let known = Bound {
        guest: (site("c"), b.guest.1),
        ..b.clone()
    };
    refused(known, &a, &JoinRefused::Known(site("c")));
    let shared = Standing {
        known_as: Some(site("c")),
        ..a.clone()
    };
    refused(b.clone(), &shared, &JoinRefused::Certificate(site("c")));
    let former = Standing {
        is_former: true,
        ..a.clone()
    };
    refused(b.clone(), &former, &JoinRefused::Former(site("b")));
}

#[test]
fn a_set_may_not_be_able_to_take_anybody() {
    let (b, a) = (bound(), standing());
    let full = (0..63).map(|n| site(&format!("s{n}"))).collect();
    refused(
        b.clone(),
        &Standing {
            peers: full,
            ..a.clone()
        },
        &JoinRefused::TooMany,
    );
    let nowhere = Bound {
        address: "h".into(),
        ..b.clone()
    };
    refused(nowhere, &a, &JoinRefused::Address("the port is missing"));
    refused(
        b.clone(),
        &Standing {
            has_whole_logs: false,
            ..a.clone()
        },
        &JoinRefused::Trimmed,
    );
    refused(
        Bound {
            is_empty: false,
            ..b.clone()
        },
        &a,
        &JoinRefused::NotEmpty,
    );
    refused(
        Bound {
            is_empty: false,
            is_agreed: true,
            ..b.clone()
        },
        &a,
        &JoinRefused::NotEmpty,
    );
    let with_data = Standing {
        began_empty: false,
        ..a
    };
    refused(b.clone(), &with_data, &JoinRefused::NotAgreed);
    let agreed = Bound {
        is_empty: false,
        is_agreed: true,
        ..b
    };
    assert!(
        desk()
            .judge(&ask(secret(7), agreed), fingerprint(0xB0), &with_data, NOW)
            .is_ok()
    );
}

#[test]
fn whoever_answers_must_know_the_secret_too() {
    let mut visit = Visit::new(secret(7), bound());
    let proof = frames::Hex([0; 32]);
    let others = Vec::new();
    assert_eq!(
        visit.handle(Frame::Welcome { proof, others }),
        Err(VisitError::WrongProof)
    );
    assert_eq!(visit.handle(Frame::Done {}), Err(VisitError::Order));
    let refused = visit
        .handle(Frame::Refused {
            why: "no\x1b[2J".into(),
        })
        .unwrap_err();
    assert_eq!(refused.to_string(), "site a refuses: no[2J");
}

#[test]
fn what_is_no_frame() {
    for text in [
        "",
        "{}",
        "[]",
        "{\"kept\":{\"x\":1}}",
        "{\"refused\":{}}",
        "{\"welcome\":{\"proof\":\"00\",\"others\":[]}}",
    ] {
        assert!(Frame::decode(text.as_bytes()).is_err(), "{text}");
    }
    assert!(Frame::decode(&vec![b' '; FRAME_BYTES_MAX + 1]).is_err());
    let line = Frame::Kept {}.encode().unwrap();
    assert_eq!(
        (line.as_slice(), Frame::decode(&line)),
        (&b"{\"kept\":{}}\n"[..], Ok(Frame::Kept {}))
    );
}
