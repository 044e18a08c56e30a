//! The copy of the tree that faults are put into: the project's own files, and nothing else.
//!
//! Knows nothing of faults; what the files hold is the caller's.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{cargo, sources};

/// Files by their paths from the root.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// The working tree as it is now.
pub(super) fn read_sources() -> Result<Files> {
    let root = cargo::root();
    let read = |path: String| {
        let bytes = fs::read(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
        Ok((path, bytes))
    };
    sources::list()?.into_iter().map(read).collect()
}

/// Make the tree hold exactly these files, leaving alone what is already right: cargo goes by
/// modification times.
pub(super) fn write(tree: &Path, files: &Files) -> Result<()> {
    let mut kept = BTreeSet::new();
    for (path, bytes) in files {
        let file = tree.join(path);
        if fs::read(&file).ok().as_ref() != Some(bytes) {
            let directory = file.parent().unwrap_or(tree);
            fs::create_dir_all(directory)
                .and_then(|()| fs::write(&file, bytes))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        kept.insert(file);
    }
    remove_others(tree, &kept)
}

fn remove_others(directory: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn the_tree_holds_exactly_the_files_and_unchanged_ones_are_left_alone() {
        let tree = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
        write(tree.path(), &vec![file("a/b", "1"), file("c", "2")]).unwrap();
        let written = |path| fs::metadata(tree.path().join(path)).unwrap().modified().unwrap();
        let before = written("a/b");
        thread::sleep(Duration::from_millis(20));
        write(tree.path(), &vec![file("a/b", "1"), file("d", "3")]).unwrap();
        assert_eq!(written("a/b"), before);
        assert!(!tree.path().join("c").exists());
        assert_eq!(fs::read(tree.path().join("d")).unwrap(), b"3");
    }
}
