//! What payload says: pure functions from bytes to a finding, one protocol a file.
//!
//! Bytes are hostile: no function here panics, loops without bound or allocates before it has found
//! something. Samples may begin in the middle of a session and be cut off: what is said is what is
//! certain. Who concludes what from findings is `verdict`'s.

mod about;
pub mod dns;
pub mod getwork;
mod json;
#[cfg(test)]
pub(crate) mod samples;
pub mod stratum;
pub mod tls;

/// What one side of a connection sent, without a gap from its first byte on.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    pub bytes: &'a [u8],
    /// More was sent behind these bytes than was sampled, so that their end is no end.
    pub is_cut: bool,
}

/// Who says such things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Miner,
    Pool,
}

/// How a flow was recognised by what it says, as the metrics and `rule.name` call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// A TLS hello named a watched domain.
    Sni,
    /// A line protocol between miner and pool, whatever its dialect.
    Stratum,
    /// Work fetched over HTTP.
    Getwork,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Sni, Self::Stratum, Self::Getwork];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sni => "sni",
            Self::Stratum => "stratum",
            Self::Getwork => "getwork",
        }
    }
}

/// How much a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nothing else says this.
    Enough,
    /// Others say it as well, unless the other side of the connection answers with the same work.
    Half(Work),
}

/// What is asked for by one half and given by the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A block header or a block template, of Bitcoin's kin or of Monero's.
    Block,
    /// Ethereum's triple of header hash, seed and boundary.
    Ethash,
}

/// A message of a mining protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mining {
    pub signal: Signal,
    pub speaker: Speaker,
    pub weight: Weight,
    pub about: About,
}

impl Mining {
    /// Both findings of what one side sent as one: the stronger decides, the first where neither is.
    fn and(self, next: Self) -> Self {
        let about = self.about.clone().or(next.about.clone());
        let is_outdone = self.weight != Weight::Enough && next.weight == Weight::Enough;
        Self { about, ..if is_outdone { next } else { self } }
    }
}

/// What a miner or a pool says of itself: printable, bounded by [`ABOUT_MAX`] bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The miner's program and version.
    pub agent: Option<String>,
    /// The coin, or the algorithm where no coin is named.
    pub coin: Option<String>,
    /// The account that is paid.
    pub wallet: Option<String>,
    pub worker: Option<String>,
}

/// Longest text that is kept of a message, in bytes.
pub const ABOUT_MAX: usize = 128;
