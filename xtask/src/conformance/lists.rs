//! The built-in list of pools against one that nobody here wrote: a table of pools' hosts, one a
//! line, the host first. Each is asked of `poolwatch lists --lookup`, as a user would ask it. And
//! names that belong to others must not match.

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// The table in the folder of lists, and what its first line begins with.
const TABLE: &str = "mining_pool_domain_intel.csv";
const HEADING: &str = "domain,";

/// How many of the hosts must match.
const AT_LEAST_PERCENT: usize = 95;

/// Exchanges, coins' own websites and news are not pools; nor are these with `www.` before them.
const OTHERS: [&str; 8] = [
    "coinbase.com",
    "binance.com",
    "kraken.com",
    "bitcoin.org",
    "ethereum.org",
    "getmonero.org",
    "coinmarketcap.com",
    "github.com",
];

/// Prints what matches and what does not, and returns how much of that is wrong.
pub(super) fn compare(sensor: &Path, place: &Path, lists: &Path) -> Result<usize> {
    let path = lists.join(TABLE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let hosts = hosts(&text).with_context(|| path.display().to_string())?;
    let config = place.join("pools.toml");
    fs::write(&config, "builtin = { mining = true, dprk = false }\n")
        .with_context(|| format!("cannot write {}", config.display()))?;
    let is_found = |host: &str| matches(sensor, &config, host);

    let mut unmatched = Vec::new();
    for host in &hosts {
        if !is_found(host)? {
            unmatched.push(*host);
        }
    }
    let mut wrongly = Vec::new();
    for other in OTHERS {
        for name in [other.to_owned(), format!("www.{other}")] {
            if is_found(&name)? {
                wrongly.push(name);
            }
        }
    }
    println!("\nThe built-in list of pools, hosts of {TABLE}");
    let matched = hosts.len() - unmatched.len();
    println!("hosts {}, matched {matched}, {} %", hosts.len(), percent(matched, hosts.len()));
    for host in &unmatched {
        println!("    unmatched: {host}");
    }
    for name in &wrongly {
        println!("    DIFFERS  {name} is no pool, and matches");
    }
    let too_few = matched * 100 < hosts.len() * AT_LEAST_PERCENT;
    if too_few {
        println!("    DIFFERS  at least {AT_LEAST_PERCENT} % must match");
    }
    println!("{} names of others, {} match", 2 * OTHERS.len(), wrongly.len());
    Ok(wrongly.len() + usize::from(too_few))
}

/// Does it match? Exit code 1 says no, another one that it could not be asked.
fn matches(sensor: &Path, config: &Path, host: &str) -> Result<bool> {
    let mut command = Command::new(sensor);
    command.arg("lists").arg("--config").arg(config).args(["--lookup", host]);
    let output = cargo::collect(&mut command)?;
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) if said.ends_with("nothing matches\n") => Ok(false),
        _ => bail!("{host}: {}", String::from_utf8_lossy(&output.stderr).trim_end()),
    }
}

/// The first cell of each line, each once, addresses left out.
fn hosts(table: &str) -> Result<BTreeSet<&str>> {
    let lines = table.strip_prefix(HEADING).and_then(|rest| rest.split_once('\n'));
    let Some((_, lines)) = lines else { bail!("its first line does not begin with {HEADING:?}") };
    let first = lines.lines().filter_map(|line| line.split(',').next());
    let hosts: BTreeSet<&str> =
        first.filter(|cell| !cell.is_empty() && cell.parse::<IpAddr>().is_err()).collect();
    if hosts.is_empty() {
        bail!("it names no host");
    }
    Ok(hosts)
}

/// With one decimal.
fn percent(part: usize, whole: usize) -> String {
    let tenths = part * 1000 / whole.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_the_first_cells_that_are_no_addresses_each_once() {
        let table =
            "domain,port\nb.example,1\n192.0.2.1,2\na.example,3,\"x, y\"\nb.example,4\n2001:db8::1,5\n";
        let found: Vec<_> = hosts(table).unwrap().into_iter().collect();
        assert_eq!(found, ["a.example", "b.example"]);
    }

    #[test]
    fn a_table_of_another_kind_or_of_no_hosts_is_no_success() {
        for table in ["", "host,port\na.example,1\n", "domain,port\n", "domain,port\n192.0.2.1,1\n"] {
            assert!(hosts(table).is_err(), "{table:?}");
        }
    }

    #[test]
    fn percentages_are_rounded_down() {
        assert_eq!(percent(429, 430), "99.7");
        assert_eq!(percent(430, 430), "100.0");
        assert_eq!(percent(0, 0), "0.0");
    }
}
