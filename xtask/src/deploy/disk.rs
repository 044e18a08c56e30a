//! The disk of a Debian that is to be booted: an ext4 image of its tree, which goes.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::tree::{run, utf8};
use crate::root::Root;

const SIZE: &str = "1200M";

/// Makes the image.
pub(super) fn image(tree: &Path, image: &Path, root: &Root) -> Result<PathBuf> {
    // Ours, so that QEMU needs no root to write to it.
    File::create(image).with_context(|| format!("cannot write {}", image.display()))?;
    run(root, "mke2fs", &["-q", "-F", "-t", "ext4", "-d", utf8(tree)?, utf8(image)?, SIZE])?;
    run(root, "rm", &["-rf", utf8(tree)?])?;
    Ok(image.to_owned())
}
