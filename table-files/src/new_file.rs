//! Files that are written under another name until they are whole: one that broke off must not look like one.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// A file on its way, under its name with `.unfinished` behind it. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    unfinished: PathBuf,
    is_finished: bool,
}

impl NewFile {
    /// Begins what will be the file at `path`; gives where to write it.
    ///
    /// # Errors
    /// It cannot be created; the message names it.
    pub fn create(path: &Path) -> io::Result<(Self, BufWriter<File>)> {
        let mut name = path.as_os_str().to_owned();
        name.push(".unfinished");
        let new = Self {
            path: path.to_owned(),
            unfinished: name.into(),
            is_finished: false,
        };
        let file = File::create(&new.unfinished).map_err(|error| cannot(&new.unfinished, &error))?;
        Ok((new, BufWriter::new(file)))
    }

    /// Gives it its name: it is written to its end, flushed and closed.
    ///
    /// # Errors
    /// It cannot be renamed; the message names it.
    pub fn finish(mut self) -> io::Result<()> {
        std::fs::rename(&self.unfinished, &self.path).map_err(|error| cannot(&self.path, &error))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // Nothing is lost if it stays.
            let _removed = std::fs::remove_file(&self.unfinished);
        }
    }
}

fn cannot(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_has_its_name_once_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.csv");
        let names = || {
            let entries = std::fs::read_dir(dir.path()).unwrap();
            let name = |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
            entries.map(name).collect::<Vec<_>>()
        };
        let (new, mut to) = NewFile::create(&path).unwrap();
        to.write_all(b"a").unwrap();
        assert_eq!(names(), ["rows.csv.unfinished"]);
        drop((to, new));
        assert!(names().is_empty());
        let (new, mut to) = NewFile::create(&path).unwrap();
        to.write_all(b"b").unwrap();
        to.flush().unwrap();
        drop(to);
        new.finish().unwrap();
        assert_eq!(names(), ["rows.csv"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"b");
        let message = NewFile::create(&dir.path().join("no/rows.csv"))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("no/rows.csv.unfinished cannot be written"),
            "{message}"
        );
    }
}
