//! The project's own files: what git tracks, and what it does not yet track but would not ignore.
//!
//! Reads no contents and judges nothing: `tidy` does, and `mutants` copies them.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cargo;

/// Their paths from the root, sorted. A file deleted but not yet committed is left out.
pub(crate) fn list() -> Result<Vec<String>> {
    let root = cargo::root();
    let listed = cargo::read(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root),
    )
    .context("the project's files are those that git knows: this needs a git checkout")?;
    let mut paths: Vec<String> =
        listed.split_terminator('\0').filter(|path| root.join(path).is_file()).map(str::to_owned).collect();
    paths.sort_unstable();
    // An unmerged file is listed once a side.
    paths.dedup();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_holds_this_file_and_nothing_that_is_built() {
        let paths = list().unwrap();
        assert!(paths.iter().any(|path| path == "xtask/src/sources.rs"));
        assert!(!paths.iter().any(|path| path.starts_with("target/")));
    }
}
