//! The file a snapshot is kept in.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use shared_store_core::{Prefix, warm};

/// The file of one store in its state directory. Written by one store at a time, whole or not at all; read by any.
#[derive(Debug)]
pub(crate) struct StateFile {
    directory: PathBuf,
    path: PathBuf,
    /// Held from the first write to the end of the store.
    lock: Option<File>,
}

impl StateFile {
    pub(crate) fn new(directory: &Path, prefix: &Prefix) -> Self {
        Self { directory: directory.to_owned(), path: directory.join(warm::file_name(prefix)), lock: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; `None` if there is none.
    pub(crate) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it. Whatever happens, there is the old file or the new one.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        if self.lock.is_none() {
            self.lock = Some(self.locked()?);
        }
        let new = self.path.with_extension("new");
        let mut file = private().truncate(true).open(&new)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        drop(file);
        if let Err(error) = written.and_then(|()| std::fs::rename(&new, &self.path)) {
            // What is left of it would only take up room, and is overwritten next time.
            let _ = std::fs::remove_file(&new);
            return Err(error);
        }
        sync_directory(&self.directory)
    }

    fn locked(&self) -> io::Result<File> {
        let lock = private().open(self.path.with_extension("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(std::fs::TryLockError::WouldBlock) => Err(io::Error::other("another store writes it")),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A file for nobody else's eyes: values can be secrets.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A rename is on the disk when its directory is.
fn sync_directory(directory: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened.
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
