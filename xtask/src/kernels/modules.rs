//! The modules that a guest needs, with all that they depend on, in the order in which they can be
//! loaded.
//!
//! A module says itself what it depends on (`depends=` in its .modinfo), so that neither depmod nor
//! its lists are needed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::cargo;

/// What the tests' traffic needs, by the names of `lsmod`.
pub(crate) const OF_TESTS: &[&str] = &[
    "crc32c_generic",
    "veth",
    "tun",
    "dummy",
    "8021q",
    "bridge",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
    "nft_counter",
    "nft_objref",
    "nft_chain_nat",
    "nft_masq",
    "vxlan",
    "bonding",
    "wireguard",
];

/// A module, uncompressed.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// The wanted modules of an unpacked kernel, by the names of `lsmod`, each after what it depends on. One
/// that the kernel does not have as a module is built in, or was merged into another one.
pub(crate) fn wanted(place: &Path, names: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    find(&place.join("kernel"), &mut files)?;
    let mut loaded: Vec<Module> = Vec::new();
    for name in names {
        load(name, &files, &mut loaded)?;
    }
    Ok(loaded)
}

/// Adds a module behind its dependencies; what is there already, or built in, adds nothing.
fn load(name: &str, files: &BTreeMap<String, PathBuf>, loaded: &mut Vec<Module>) -> Result<()> {
    let Some(file) = files.get(name).filter(|_| loaded.iter().all(|module| module.name != name)) else {
        return Ok(());
    };
    let bytes = read(file)?;
    for dependency in depends(&bytes) {
        load(&dependency, files, loaded)?;
    }
    loaded.push(Module { name: name.to_owned(), bytes });
    Ok(())
}

fn find(place: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(place).with_context(|| format!("cannot read {}", place.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(module_name) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `nf-tables.ko.xz` is `nf_tables`.
fn module_name(file: &str) -> Option<String> {
    let name = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "xz") {
        let output = cargo::collect(Command::new("busybox").arg("xzcat").arg(file))?;
        anyhow::ensure!(output.status.success(), "busybox cannot unpack {}", file.display());
        return Ok(output.stdout);
    }
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// What stands behind `depends=` among a module's zero-terminated facts.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"depends=";
    let fact = module.split(|byte| *byte == 0).find_map(|fact| fact.strip_prefix(KEY));
    let names = String::from_utf8_lossy(fact.unwrap_or_default()).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("kernel/net");
        fs::create_dir_all(&place).unwrap();
        for (file, depends) in modules {
            let facts = format!("\x7fELF\0license=GPL\0depends={depends}\0intree=Y\0");
            fs::write(place.join(file), facts).unwrap();
        }
        directory
    }

    #[test]
    fn a_module_comes_after_what_it_depends_on_and_each_once() {
        let tree = tree(&[
            ("veth.ko", ""),
            ("nf_tables.ko", "nfnetlink,libcrc32c"),
            ("nft_counter.ko", "nf-tables"),
            ("nfnetlink.ko", ""),
            ("libcrc32c.ko", ""),
            ("nobody_asked.ko", ""),
        ]);
        let names: Vec<String> = wanted(tree.path(), &["veth", "nf_tables", "nft_counter"])
            .unwrap()
            .into_iter()
            .map(|module| module.name)
            .collect();
        assert_eq!(names, ["veth", "nfnetlink", "libcrc32c", "nf_tables", "nft_counter"]);
    }

    #[test]
    fn a_file_is_named_as_the_kernel_names_its_module() {
        for (file, name) in [
            ("veth.ko", Some("veth")),
            ("crc32c-intel.ko.xz", Some("crc32c_intel")),
            ("modules.order", None),
            ("veth.ko.gz", None),
        ] {
            assert_eq!(module_name(file).as_deref(), name, "{file}");
        }
    }

    #[test]
    fn no_dependencies_are_none() {
        assert_eq!(depends(b"\0depends=\0name=veth\0"), Vec::<String>::new());
        assert_eq!(depends(b"no facts"), Vec::<String>::new());
    }
}
