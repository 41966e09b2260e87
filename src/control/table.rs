//! The status for people.

use super::columns::{Columns, bytes, figure, grouped, printable, right, span, word};
use super::view::{PeerView, StatusView};
use std::fmt::Write;

/// The status as text, lines of at most about 110 characters. With an earlier status of the same process, rates
/// per second stand beside the totals.
pub fn table(now: &StatusView, before: Option<&StatusView>) -> String {
    let before = before.filter(|b| b.uptime_ms < now.uptime_ms);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "site {}   database id {}   syncer {}   up {}",
        printable(&now.site),
        printable(&now.database_id),
        printable(&now.version),
        span(now.uptime_ms)
    );
    database(&mut out, now);
    peers(&mut out, now, before);
    engine(&mut out, now, before);
    certificates(&mut out, now);
    out
}

/// Only what somebody should do something about.
fn certificates(out: &mut String, now: &StatusView) {
    for held in now.certificates.held.iter().filter(|held| held.state != "valid") {
        let (name, state, until) = (
            printable(&held.name),
            printable(&held.state),
            printable(&held.until),
        );
        let _ = writeln!(out, "CERTIFICATE {name} {state} ({until})");
    }
    if let Some(error) = &now.certificates.last_error {
        let _ = writeln!(out, "CERTIFICATE not replaced: {}", printable(error));
    }
    if let Some(store) = now.certificates.store.as_ref().filter(|store| !store.is_reached) {
        let why = printable(store.error.as_deref().unwrap_or_default());
        let behind = span(store.behind_s.saturating_mul(1_000));
        let _ = writeln!(out, "CERTIFICATE store not reached for {behind}: {why}");
    }
}

fn database(out: &mut String, now: &StatusView) {
    let database = &now.database;
    let _ = writeln!(
        out,
        "database  {}  {}  {}  id {}  offset {}",
        printable(&database.address),
        or_dash(&database.server_version),
        database.link_state,
        or_dash(&database.replication_id),
        grouped(database.offset)
    );
    if let Some(error) = &database.last_error {
        let _ = writeln!(out, "          {}", printable(error));
    }
}

fn peers(out: &mut String, now: &StatusView, before: Option<&StatusView>) {
    if now.peers.is_empty() {
        out.push_str("\nno peers are configured\n");
        return;
    }
    let mut columns = Columns::default();
    let mut heading = vec![word("PEER"), word("ADDRESS"), word("STATE")];
    heading.extend(["LAG ops", "bytes", "time", "SENT ops"].map(right));
    heading.extend(before.map(|_| right("/s")));
    heading.push(right("RECEIVED ops"));
    heading.extend(before.map(|_| right("/s")));
    columns.row(heading);
    for peer in &now.peers {
        let earlier = before.and_then(|b| b.peers.iter().find(|p| p.site == peer.site));
        let rate = |of: fn(&PeerView) -> u64| {
            before.map(|b| right(earlier.map_or("-".into(), |e| rate(of(peer), of(e), now, b))))
        };
        let mut row = vec![
            word(&peer.site),
            word(&peer.address),
            word(peer.state.to_string()),
        ];
        row.extend([
            figure(peer.lag_operations),
            right(bytes(peer.lag_bytes)),
            right(span(peer.lag_ms)),
        ]);
        row.push(figure(peer.sent.operations));
        row.extend(rate(|p| p.sent.operations));
        row.push(figure(peer.received.operations));
        row.extend(rate(|p| p.received.operations));
        columns.row(row);
    }
    out.push('\n');
    columns.render(out);
    for peer in &now.peers {
        if let Some(error) = &peer.last_error {
            let _ = writeln!(out, "{}: {}", printable(&peer.site), printable(error));
        }
    }
}

fn engine(out: &mut String, now: &StatusView, before: Option<&StatusView>) {
    let (window, log, totals) = (&now.window, &now.log, &now.totals);
    let on_disk = match window.disk_bytes {
        0 => String::new(),
        on_disk => format!(" and {} on disk", bytes(on_disk)),
    };
    let _ = write!(
        out,
        "\nwindow    {} operations in {}{on_disk}, {} keys in conflict, {} waiting",
        grouped(window.operations),
        bytes(window.memory_bytes),
        grouped(window.keys_in_conflict),
        grouped(window.keys_waiting)
    );
    if window.keys_waiting > 0 {
        let _ = write!(out, " (longest {})", span(window.waiting_ms_max));
    }
    let _ = write!(
        out,
        "\nlog       {} of {}",
        bytes(log.bytes),
        bytes(log.bytes_max)
    );
    for origin in &log.origins {
        let (first, last) = (grouped(origin.first_seq), grouped(origin.last_seq));
        let _ = write!(out, "   {} {first}..{last}", printable(&origin.site));
    }
    let captured = before.map(|b| (b, b.totals.local_operations_captured));
    let applied = before.map(|b| (b, b.totals.remote_operations_applied));
    let _ = write!(
        out,
        "\nwrites    {} local captured{}, {} remote applied{}, {} keys reconciled",
        grouped(totals.local_operations_captured),
        rate_words(totals.local_operations_captured, captured, now),
        grouped(totals.remote_operations_applied),
        rate_words(totals.remote_operations_applied, applied, now),
        grouped(totals.keys_reconciled)
    );
    if totals.commands_refused > 0 {
        let _ = write!(
            out,
            "\nREFUSED   {} commands by the database; see the log",
            grouped(totals.commands_refused)
        );
    }
    if totals.values_refused > 0 {
        let _ = write!(
            out,
            "\nREFUSED   {} values of other sites; see the log",
            grouped(totals.values_refused)
        );
    }
    let conflicts: Vec<String> = now
        .conflicts
        .iter()
        .map(|(rule, count)| format!("{} {}", printable(rule), grouped(*count)))
        .collect();
    let none = conflicts.is_empty();
    let _ = writeln!(
        out,
        "\nconflicts {}",
        if none { "none".into() } else { conflicts.join(", ") }
    );
}

fn rate_words(value: u64, before: Option<(&StatusView, u64)>, now: &StatusView) -> String {
    before
        .map(|(view, earlier)| format!(" ({}/s)", rate(value, earlier, now, view)))
        .unwrap_or_default()
}

/// How much a counter rose per second between two statuses.
fn rate(value: u64, earlier: u64, now: &StatusView, before: &StatusView) -> String {
    let ms = now.uptime_ms.saturating_sub(before.uptime_ms).max(1);
    let rise = u128::from(value.saturating_sub(earlier));
    grouped(u64::try_from(rise * 1000 / u128::from(ms)).unwrap_or(u64::MAX))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() {
        "-".into()
    } else {
        printable(text)
    }
}
