//! Which interfaces there are, which of them carry a default route, and word of every change,
//! from rtnetlink. Every change is answered with a full list: what is missed between two
//! messages, or lost to an overrun, cannot go unnoticed.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use futures_util::future::ready;
use futures_util::stream::{Stream, StreamExt, TryStreamExt};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder, new_connection, new_multicast_connection};

/// What the packets of an interface begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Ethernet,
    /// IP at once: tun, wireguard, ppp, sit.
    Ip,
    /// Something that we do not read.
    Unknown,
}

impl Framing {
    const fn of(link: LinkLayerType) -> Self {
        match link {
            LinkLayerType::Ether | LinkLayerType::Loopback => Self::Ethernet,
            LinkLayerType::None
            | LinkLayerType::Ppp
            | LinkLayerType::Tunnel
            | LinkLayerType::Tunnel6
            | LinkLayerType::Sit => Self::Ip,
            _ => Self::Unknown,
        }
    }
}

/// A network interface of this namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub framing: Framing,
    pub is_up: bool,
    /// An IPv4 or IPv6 default route of the main table leaves through it.
    pub has_default_route: bool,
    /// Index of the interface that it is a part or a port of: a VLAN's parent, a port's bridge.
    pub part_of: Option<u32>,
}

/// A connection to the kernel's routing netlink, in the namespace of the thread that opened it.
pub struct Netlink(pub(super) Handle);

impl Netlink {
    /// Must be called within a tokio runtime, which drives the connection.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) = new_connection().context("opening netlink")?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// All interfaces, in the order of their indices.
    pub async fn interfaces(&self) -> Result<Vec<Interface>> {
        let routed = self.default_routes().await.context("listing routes")?;
        let mut links = self.0.link().get().execute();
        let mut interfaces = Vec::new();
        while let Some(link) = links.try_next().await.context("listing interfaces")? {
            let (mut name, mut parent, mut controller) = (None, None, None);
            let mut parent_is_elsewhere = false;
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(found) => name = Some(found),
                    LinkAttribute::Link(index) => parent = Some(index),
                    LinkAttribute::LinkNetNsId(_) => parent_is_elsewhere = true,
                    LinkAttribute::Controller(index) => controller = Some(index),
                    _ => {}
                }
            }
            let Some(name) = name else { continue };
            interfaces.push(Interface {
                index: link.header.index,
                name,
                framing: Framing::of(link.header.link_layer_type),
                is_up: link.header.flags.contains(LinkFlags::Up),
                has_default_route: routed.contains(&link.header.index),
                // A parent in another namespace (a container's veth) has an index of that one.
                part_of: controller.or(parent.filter(|_| !parent_is_elsewhere)).filter(|index| *index != 0),
            });
        }
        interfaces.sort_by_key(|interface| interface.index);
        Ok(interfaces)
    }

    async fn default_routes(&self) -> Result<HashSet<u32>> {
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut indices = HashSet::new();
        for query in [v4, v6] {
            let mut routes = self.0.route().get(query).execute();
            while let Some(route) = routes.try_next().await? {
                if is_default(&route) {
                    indices.extend(outgoing(&route));
                }
            }
        }
        Ok(indices)
    }
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A filter or a qdisc was removed: ours, perhaps. Nothing announces what leaves TCX.
    Filters,
    /// A link or a route; or so many that the kernel could not tell them all.
    Interfaces,
}

/// Word of each change.
///
/// # Errors
/// When the kernel refuses the subscription.
pub fn changes() -> Result<impl Stream<Item = Change> + Unpin> {
    let groups =
        [MulticastGroup::Link, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route, MulticastGroup::Tc];
    let (connection, _, messages) = new_multicast_connection(&groups).context("subscribing to netlink")?;
    tokio::spawn(connection);
    Ok(messages.filter_map(|(message, _)| ready(change(&message.payload))))
}

/// Filters that come are no change: most of those would be our own.
const fn change(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<Change> {
    use RouteNetlinkMessage as Said;
    match payload {
        NetlinkPayload::InnerMessage(Said::DelTrafficFilter(_) | Said::DelQueueDiscipline(_)) => {
            Some(Change::Filters)
        }
        NetlinkPayload::InnerMessage(
            Said::NewTrafficFilter(_)
            | Said::NewQueueDiscipline(_)
            | Said::NewTrafficClass(_)
            | Said::DelTrafficClass(_)
            | Said::NewTrafficChain(_)
            | Said::DelTrafficChain(_)
            | Said::NewTrafficAction(_)
            | Said::DelTrafficAction(_),
        ) => None,
        _ => Some(Change::Interfaces),
    }
}

fn is_default(route: &RouteMessage) -> bool {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    route.header.destination_prefix_length == 0
        && route.header.kind == RouteType::Unicast
        && table.unwrap_or(u32::from(route.header.table)) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn outgoing(route: &RouteMessage) -> Vec<u32> {
    let mut indices = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => indices.push(*index),
            RouteAttribute::MultiPath(hops) => indices.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    indices
}
