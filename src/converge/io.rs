//! The window's files.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Spill;

/// Files kept open; others are opened for each look-up.
const FILES_OPEN_MAX: usize = 128;

/// A directory of files that live as long as this process.
#[derive(Debug)]
pub struct FileSpill {
    dir: PathBuf,
    open: BTreeMap<u64, File>,
}

impl FileSpill {
    /// Makes the directory anew: what an earlier run left in it is removed.
    ///
    /// # Errors
    /// The system's.
    pub fn begin(dir: &Path) -> io::Result<FileSpill> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(dir)?;
        Ok(FileSpill {
            dir: dir.to_owned(),
            open: BTreeMap::new(),
        })
    }

    fn path(&self, file: u64) -> PathBuf {
        self.dir.join(format!("{file:08}.window"))
    }

    fn keep(&mut self, number: u64, file: File) {
        self.open.insert(number, file);
        if self.open.len() > FILES_OPEN_MAX {
            self.open.pop_first();
        }
    }
}

impl Spill for FileSpill {
    fn write(&mut self, file: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(file);
        let mut opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        opened.write_all(bytes)?;
        self.keep(file, opened);
        Ok(())
    }

    fn read(&mut self, file: u64, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if let Some(open) = self.open.get(&file) {
            return open.read_exact_at(into, offset);
        }
        let opened = File::open(self.path(file))?;
        opened.read_exact_at(into, offset)?;
        self.keep(file, opened);
        Ok(())
    }

    fn remove(&mut self, file: u64) -> io::Result<()> {
        self.open.remove(&file);
        std::fs::remove_file(self.path(file))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_come_and_go_and_none_survives_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("window");
        let mut files = FileSpill::begin(&dir).unwrap();
        for file in 0..200u64 {
            files.write(file, &file.to_le_bytes()).unwrap();
        }
        let mut read = [0; 4];
        for file in 0..200u64 {
            files.read(file, 0, &mut read).unwrap();
            assert_eq!(u64::from(u32::from_le_bytes(read)), file);
        }
        assert!(files.read(7, 6, &mut read).is_err());
        files.remove(7).unwrap();
        assert!(files.read(7, 0, &mut read).is_err());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 199);
        FileSpill::begin(&dir).unwrap();
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    }
}
