//! Whether the machine went down while the syncer ran: only then can the log have lost what was written to it.
//!
//! While the syncer runs, the file `boot` in the data directory names the boot of the machine that it runs in.

use std::path::Path;

/// Linux's name for the present boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const FILE: &str = "boot";

fn present() -> Option<String> {
    std::fs::read_to_string(BOOT_ID).ok()
}

/// Whether an earlier run did not end by itself and ran in another boot.
pub(super) fn went_down(data_dir: &Path) -> bool {
    let earlier = std::fs::read_to_string(data_dir.join(FILE)).ok();
    earlier
        .zip(present())
        .is_some_and(|(earlier, present)| earlier != present)
}

/// The syncer runs in this boot. A file that cannot be written is missed at the next start only if the machine goes
/// down, and then the mark in the database tells nearly as much.
pub(super) fn note(data_dir: &Path) {
    let written = present().map_or(Ok(()), |present| std::fs::write(data_dir.join(FILE), present));
    if let Err(error) = written {
        tracing::warn!(%error, "the boot of the machine cannot be noted in the data directory");
    }
}

/// The syncer ended in order.
pub(super) fn forget(data_dir: &Path) {
    let _ = std::fs::remove_file(data_dir.join(FILE));
}
