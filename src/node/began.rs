//! Whether the site's database was empty when its syncer ran first: only then does the log hold everything, so that a
//! site with an empty database may join later.
//!
//! The file `began` in the data directory says `empty` or `agreed`. Where there is none, it is not known.

use std::path::Path;

const FILE: &str = "began";
const EMPTY: &str = "empty\n";
const AGREED: &str = "agreed\n";

/// The database's data begin here, with nothing in it or with what all sites have agreed on.
pub(super) fn note(data_dir: &Path, is_empty: bool) {
    let text = if is_empty { EMPTY } else { AGREED };
    let path = data_dir.join(FILE);
    // What cannot be written counts as not known, also where an earlier beginning was noted.
    if let Err(error) = std::fs::write(&path, text) {
        let _ = std::fs::remove_file(&path);
        tracing::warn!(%error, "it cannot be noted in the data directory that the database was empty");
    }
}

/// Whether it is known to have been empty.
pub(super) fn was_empty(data_dir: &Path) -> bool {
    std::fs::read_to_string(data_dir.join(FILE)).is_ok_and(|text| text == EMPTY)
}
