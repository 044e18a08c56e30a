//! The way to a value: the names that mining protocols use, and places in arrays.
//!
//! What stands under any other name is read over.

/// One step from a value to one inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Agent,
    Algo,
    Blob,
    BlockHashingBlob,
    BlockTemplateBlob,
    CoinbaseTxn,
    CoinbaseValue,
    Data,
    Error,
    Job,
    JobId,
    Login,
    Method,
    Nonce,
    Params,
    Pass,
    PreviousBlockHash,
    Proto,
    Result,
    Rigid,
    Target,
    Transactions,
    WalletAddress,
    Worker,
    /// In an array; the last place stands for all behind it, too.
    Index(u8),
}

impl Step {
    pub fn named(key: &str) -> Option<Self> {
        let step = match key {
            "agent" => Self::Agent,
            "algo" => Self::Algo,
            "blob" => Self::Blob,
            "blockhashing_blob" => Self::BlockHashingBlob,
            "blocktemplate_blob" => Self::BlockTemplateBlob,
            "coinbasetxn" => Self::CoinbaseTxn,
            "coinbasevalue" => Self::CoinbaseValue,
            "data" => Self::Data,
            "error" => Self::Error,
            "job" => Self::Job,
            "job_id" => Self::JobId,
            "login" => Self::Login,
            "method" => Self::Method,
            "nonce" => Self::Nonce,
            "params" => Self::Params,
            "pass" => Self::Pass,
            "previousblockhash" => Self::PreviousBlockHash,
            "proto" => Self::Proto,
            "result" => Self::Result,
            "rigid" => Self::Rigid,
            "target" => Self::Target,
            "transactions" => Self::Transactions,
            "wallet_address" => Self::WalletAddress,
            "worker" => Self::Worker,
            _ => return None,
        };
        Some(step)
    }
}
