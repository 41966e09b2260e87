//! Configuration: any text and environment mean settings or mistakes, without a panic; every mistake names its key
//! or, where the text is no TOML, its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use syncer::config::{Place, ROWS, settings};

/// What is complete, so that single additions are reached.
const COMPLETE: &str = "site = \"a\"\ndatabase_id = \"orders\"\ndatabase = \"redis://127.0.0.1:1\"\n\
    data_dir = \"/tmp/a\"\n[[peer]]\nsite = \"b\"\naddress = \"b:1\"\ncertificate = \"/b.pem\"\n";

fn check(text: &str, variable: &dyn Fn(&str) -> Option<String>) {
    let Err(mistakes) = settings(text, variable) else {
        return;
    };
    assert!(!mistakes.is_empty(), "refused without a mistake");
    for mistake in mistakes.iter() {
        let is_told = !mistake.key.is_empty() || matches!(mistake.place, Place::Line(_));
        assert!(is_told, "nobody can find this mistake: {mistake:?}");
        assert!(!mistake.what.is_empty(), "{mistake:?}");
        if let Place::Line(line) = mistake.place {
            let lines = text.split('\n').count();
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
        }
    }
}

// A text; behind a zero, if there is one, the value of an environment variable.
fuzz_target!(|data: &str| {
    let (text, value) = data.split_once('\0').unwrap_or((data, data));
    assert!(settings(COMPLETE, &|_| None).is_ok());
    check(text, &|_| None);
    let chosen = &ROWS[data.len() % ROWS.len()];
    let said = |name: &str| (name == chosen.variable()).then(|| value.to_owned());
    check(COMPLETE, &said);
    check(&format!("{COMPLETE}{text}"), &|_| None);
    // A value of any kind for an option that exists.
    let (table, key) = chosen.parts();
    check(&format!("[{table}]\n{key} = {text}"), &said);
    check(&format!("[{table}]\n{key} = {value:?}"), &said);
});
