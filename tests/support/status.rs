//! The answer of `syncer status --json`, read by dotted paths.

use serde_json::Value;

/// One site's view of itself.
#[derive(Debug, Clone)]
pub struct Status(pub Value);

impl Status {
    fn at(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.0, |value, name| value.get(name))
    }

    /// A number, for instance `number("window.operations")`.
    #[track_caller]
    pub fn number(&self, path: &str) -> u64 {
        let found = self.at(path).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("the status has no number {path}: {}", self.0))
    }

    #[track_caller]
    pub fn text(&self, path: &str) -> &str {
        let found = self.at(path).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("the status has no text {path}: {}", self.0))
    }

    /// The view of one peer.
    #[track_caller]
    pub fn peer(&self, site: &str) -> Status {
        let peers = self.0.get("peers").and_then(Value::as_array);
        let peers = peers.unwrap_or_else(|| panic!("the status has no peers: {}", self.0));
        let found = peers
            .iter()
            .find(|p| p.get("site").and_then(Value::as_str) == Some(site));
        Status(
            found
                .unwrap_or_else(|| panic!("the status has no peer {site}: {}", self.0))
                .clone(),
        )
    }

    /// The last operation of a site in this site's log; 0 for none.
    pub fn last_seq(&self, site: &str) -> u64 {
        let origins = self.at("log.origins").and_then(Value::as_array);
        let found = origins.and_then(|all| {
            let of_site = |origin: &&Value| origin.get("site").and_then(Value::as_str) == Some(site);
            all.iter().find(of_site)?.get("last_seq")?.as_u64()
        });
        found.unwrap_or(0)
    }

    /// The syncer reads its database's replication stream.
    pub fn database_is_up(&self) -> bool {
        self.text("database.link_state") == "streaming"
    }

    /// Both directions of the link to this peer are established.
    pub fn peer_is_up(&self, site: &str) -> bool {
        self.peer(site).text("state") == "connected"
    }

    /// The sum of every number below `path`, for instance of the conflicts by rule.
    pub fn sum(&self, path: &str) -> u64 {
        fn all(value: &Value) -> u64 {
            match value {
                Value::Number(n) => n.as_u64().unwrap_or(0),
                Value::Object(map) => map.values().map(all).sum(),
                Value::Array(items) => items.iter().map(all).sum(),
                _ => 0,
            }
        }
        self.at(path).map_or(0, all)
    }

    /// Nothing is on its way from, to or inside this site, as far as its syncer knows.
    pub fn is_quiet(&self) -> bool {
        let window = [
            "window.operations",
            "window.keys_in_conflict",
            "window.keys_waiting",
            "window.keys_healing",
        ];
        let peers = self
            .0
            .get("peers")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        window.iter().all(|path| self.number(path) == 0)
            && peers
                .into_iter()
                .map(Status)
                .all(|p| p.number("lag_operations") == 0)
    }
}
