//! Keys that wait for another site's value: nothing waits in silence, and not for ever.

use super::shared::{Shared, now_unix_ms};
use crate::causality::SiteId;
use crate::control::Response;

/// A site is reminded of a value that it owes after so long, and again as long after that.
const REMIND_AFTER_MS: u64 = 10_000;
/// Most keys that are asked for at once, a second before the next.
const REMINDERS_MAX: usize = 16_384;

/// Reminds the sites whose values keys have been waiting for.
pub(super) fn remind(shared: &Shared) {
    let mut node = shared.node.borrow_mut();
    node.site.set_time(now_unix_ms());
    let due = node.site.reminders(REMIND_AFTER_MS, REMINDERS_MAX);
    if due.is_empty() {
        return;
    }
    let since = node.site.converge().waiting_since_ms().unwrap_or_default();
    let me = node.site.roster().me();
    let own = due.iter().filter(|(site, ..)| *site == me).count();
    if own > 0 {
        tracing::warn!(
            keys = own,
            waiting_ms = now_unix_ms().saturating_sub(since),
            "streams in conflict wait for the database's user to be allowed EVAL; grant it: ACL SETUSER <user> +eval"
        );
        shared.asks_again.set(true);
        shared.apply.notify_one();
    }
    for peer in node.site.roster().clone().peers() {
        let keys = due.iter().filter(|(site, ..)| *site == peer);
        let count = keys.clone().count();
        if count == 0 {
            continue;
        }
        tracing::warn!(peer = %node.site.roster().name(peer), keys = count,
            waiting_ms = now_unix_ms().saturating_sub(since),
            "keys wait for a value that this peer has to send; it is reminded");
        if node.site.peer(peer).connected {
            let reminders = &mut node.peers[peer.at()].reminders;
            reminders.extend(keys.map(|(_, db, key)| (*db, key.clone())));
            shared.links[peer.at()].borrow().notify_one();
        }
    }
}

/// The operator says that a site is gone for good: keys that wait for it get this site's value, everywhere.
pub(super) fn overrule(shared: &Shared, name: &str) -> Response {
    let mut node = shared.node.borrow_mut();
    let site = SiteId::new(name.as_bytes())
        .ok()
        .and_then(|name| node.site.roster().find(name));
    let Some(site) = site.filter(|site| *site != node.site.roster().me()) else {
        let peers: Vec<String> = node
            .site
            .roster()
            .peers()
            .map(|peer| node.site.roster().name(peer).to_string())
            .collect();
        return Response::Error(format!(
            "{name:?} is no peer of this site; its peers are {}",
            peers.join(", ")
        ));
    };
    if node.site.peer(site).connected {
        return Response::Error(format!(
            "site {name} is connected and will send its values itself; only a site that is gone for good is overruled"
        ));
    }
    node.site.set_time(now_unix_ms());
    let keys = node.site.overrule(site);
    tracing::warn!(
        site = name,
        keys,
        "overruled: keys that waited for this site get our value, at every site"
    );
    drop(node);
    shared.apply.notify_one();
    Response::Done(format!(
        "{keys} keys that waited for site {name} get this site's value"
    ))
}
