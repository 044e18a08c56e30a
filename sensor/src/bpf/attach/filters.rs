//! A clsact qdisc and the filters on it, over rtnetlink: asked for and removed one at a time, by
//! interface index and handle, so that neither a rename nor ten thousand filters of someone
//! else's matter.

use std::io;

use anyhow::{Context, Result};
use futures_util::stream::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption};
use sensor_ebpf::abi::Direction;

use crate::bpf::interfaces::Netlink;

/// Filters run in ascending order of priority.
pub(super) const PRIORITY: u16 = 1;

/// All protocols: `ETH_P_ALL`, in the kernel's `if_ether.h`.
const ALL_PROTOCOLS: u16 = 3;

/// Where a filter is, or may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) index: u32,
    pub(super) direction: Direction,
    pub(super) handle: u32,
}

/// What was found at a spot.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// The kernel's id of its program, when it is one of BPF.
    pub(super) program: Option<u32>,
    name: String,
}

impl Filter {
    /// Did some poolwatch put it there?
    pub(super) fn is_ours(&self) -> bool {
        self.name.starts_with("poolwatch_")
    }
}

impl Netlink {
    /// The filter at this spot, if there is one, and such an interface.
    pub(super) async fn filter(&self, spot: Spot) -> Result<Option<Filter>> {
        let asked = RouteNetlinkMessage::GetTrafficFilter(message(spot)?);
        match self.answer(asked, NLM_F_REQUEST).await {
            Ok(Some(RouteNetlinkMessage::NewTrafficFilter(found))) => Ok(Some(filter_of(found))),
            Ok(_) => Ok(None),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error).context("asking for a filter"),
        }
    }

    /// Removes the filter at this spot when it is a poolwatch's.
    pub(super) async fn remove_filter(&self, spot: Spot) -> Result<()> {
        if self.filter(spot).await?.is_some_and(|filter| filter.is_ours()) {
            let removal = RouteNetlinkMessage::DelTrafficFilter(message(spot)?);
            match self.answer(removal, NLM_F_REQUEST | NLM_F_ACK).await {
                // Someone else was faster.
                Err(error) if !is_absence(&error) => return Err(error).context("removing a filter"),
                _ => {}
            }
        }
        Ok(())
    }

    /// The kind of the qdisc that has the place of clsact: that, or its older form, ingress.
    pub(super) async fn at_clsact(&self, index: u32) -> Result<Option<String>> {
        let asked = RouteNetlinkMessage::GetQueueDiscipline(clsact(index)?);
        // Without an echo only the kernel's listeners are told what was found.
        match self.answer(asked, NLM_F_REQUEST | NLM_F_ACK | NLM_F_ECHO).await {
            Ok(Some(RouteNetlinkMessage::NewQueueDiscipline(found))) => {
                Ok(found.attributes.into_iter().find_map(|attribute| match attribute {
                    TcAttribute::Kind(kind) => Some(kind),
                    _ => None,
                }))
            }
            Ok(_) => Ok(None),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error).context("asking for a qdisc"),
        }
    }

    /// Adds a clsact qdisc; `false`: someone was faster.
    pub(super) async fn add_clsact(&self, index: u32) -> Result<bool> {
        let mut added = clsact(index)?;
        added.attributes.push(TcAttribute::Kind("clsact".to_owned()));
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        match self.answer(RouteNetlinkMessage::NewQueueDiscipline(added), flags).await {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            Err(error) => Err(error).context("adding a clsact qdisc"),
        }
    }

    /// Removes the clsact qdisc of an interface, unless a filter hangs on it.
    pub(super) async fn remove_unused_clsact(&self, index: u32) -> Result<()> {
        let index = signed(index)?;
        for filters in [
            self.0.traffic_filter(index).get().ingress().execute().boxed(),
            self.0.traffic_filter(index).get().egress().execute().boxed(),
        ] {
            let filters: Vec<_> = filters.try_collect().await.context("listing filters")?;
            if !filters.is_empty() {
                return Ok(());
            }
        }
        let mut request = self.0.qdisc().del(index);
        let message = request.message_mut();
        message.header.parent = TcHandle::CLSACT;
        message.header.handle = QDISC;
        request.execute().await.context("removing a qdisc")
    }

    /// Sends a request; its first answer that carries something, or the kernel's refusal.
    async fn answer(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = flags;
        let mut answers = self.0.clone().request(message).map_err(io::Error::other)?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(answer) => return Ok(Some(answer)),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Without the qdisc, or without a filter of our priority, the spot itself is no valid one.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EINVAL))
}

/// The handle of a clsact qdisc, `ffff:`.
const QDISC: TcHandle = TcHandle { major: 0xffff, minor: 0 };

/// What names the clsact qdisc of an interface.
fn clsact(index: u32) -> Result<TcMessage> {
    let mut message = TcMessage::with_index(signed(index)?);
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = QDISC;
    Ok(message)
}

/// The header that names a spot.
fn message(spot: Spot) -> Result<TcMessage> {
    let minor = match spot.direction {
        Direction::Ingress => TcHandle::MIN_INGRESS,
        Direction::Egress => TcHandle::MIN_EGRESS,
    };
    let header = TcHeader {
        index: signed(spot.index)?,
        handle: TcHandle::from(spot.handle),
        parent: TcHandle { major: QDISC.major, minor },
        // The protocol lies there in the order of the wire.
        info: u32::from(PRIORITY) << 16 | u32::from(ALL_PROTOCOLS.to_be()),
        ..TcHeader::default()
    };
    Ok(TcMessage::from_parts(header, Vec::new()))
}

fn filter_of(message: TcMessage) -> Filter {
    let mut filter = Filter::default();
    for attribute in message.attributes {
        let TcAttribute::Options(options) = attribute else { continue };
        for option in options {
            match option {
                TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => filter.program = Some(id),
                TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => filter.name = name,
                _ => {}
            }
        }
    }
    filter
}

fn signed(index: u32) -> Result<i32> {
    i32::try_from(index).context("an interface index")
}
