// SPDX-License-Identifier: Apache-2.0
//! Neighbour solicitations and advertisements over Ethernet: RFC 4861 §4.3, §4.4 and §7.1, and the probes of
//! RFC 4862 §5.4.
//!
//! Extension headers are not followed: a neighbour message has no use for one, and RFC 6980 has fragments ignored.

use std::{fmt, net::Ipv6Addr};

use thiserror::Error;

use crate::{
    ethernet::{EtherType, EthernetFrame, EthernetRepr, MacAddr, Truncated, octets},
    frame::FrameError,
    ipv6::{ALL_NODES, ICMPV6, Ipv6Packet, Ipv6Repr, ethernet_group, icmpv6_checksum, solicited_node},
};

mod field {
    use std::ops::Range;

    pub(super) const TYPE: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: Range<usize> = 2..4;
    /// Flags of an advertisement, reserved in a solicitation.
    pub(super) const FLAGS: usize = 4;
    pub(super) const RESERVED: Range<usize> = 4..8;
    pub(super) const TARGET: Range<usize> = 8..24;
    pub(super) const OPTIONS: usize = 24;
    /// Within an option.
    pub(super) const OPTION_TYPE: usize = 0;
    pub(super) const OPTION_LENGTH: usize = 1;
    pub(super) const OPTION_VALUE: usize = 2;
}

/// ICMPv6 type of a neighbour solicitation.
const SOLICIT: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
const ADVERT: u8 = 136;
/// 255: the packet has passed no router, so its sender is on this link.
const HOP_LIMIT: u8 = 255;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// Option "source link-layer address".
const SOURCE_LINK_LAYER: u8 = 1;
/// Option "target link-layer address".
const TARGET_LINK_LAYER: u8 = 2;
/// Options are measured in units of so many bytes.
const UNIT: usize = 8;
/// A link-layer address option for Ethernet: type, length, six bytes.
const LINK_LAYER_LEN: usize = 8;

/// Why bytes are no neighbour solicitation or advertisement that may be acted on (RFC 4861 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NdpError {
    /// The packet carries something else, or has an extension header.
    #[error("next header {0}")]
    NextHeader(u8),
    /// The message ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Another message: a router's, a redirect, an echo.
    #[error("ICMPv6 type {0}")]
    Type(u8),
    /// It may have come from another link.
    #[error("hop limit {0}")]
    HopLimit(u8),
    /// No code but 0 is known.
    #[error("code {0}")]
    Code(u8),
    /// It was damaged on its way.
    #[error("wrong checksum")]
    Checksum,
    /// A group has no link-layer address.
    #[error("target {0} is a group")]
    GroupTarget(Ipv6Addr),
    /// A group sends nothing.
    #[error("source {0} is a group")]
    GroupSource(Ipv6Addr),
    /// An option of no length never ends.
    #[error("option of length 0")]
    OptionLength,
    /// An option that is longer than the rest of the message.
    #[error("option {0}")]
    OptionOverrun(Truncated),
    /// A link-layer address that is not an Ethernet one; the option's length in units of 8 bytes.
    #[error("link-layer address option of {0} units")]
    LinkLayerLength(u8),
    /// A probe has no source, so nobody's link-layer address either.
    #[error("source :: with a link-layer address")]
    UnspecifiedWithLinkLayer,
    /// A probe goes to the address's own group, and an advertisement has a source.
    #[error("source :: to {0}")]
    UnspecifiedSource(Ipv6Addr),
    /// Nobody was asked by everybody.
    #[error("solicited advertisement to the group {0}")]
    SolicitedToGroup(Ipv6Addr),
}

/// A view of a neighbour solicitation or advertisement: the ICMPv6 message.
#[derive(Clone, Copy, Debug)]
pub struct NdpPacket<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> NdpPacket<T> {
    /// Imposes the message on the payload of a packet with this header, if it passes every check of RFC 4861 §7.1.
    pub fn new_checked(buffer: T, header: &Ipv6Repr) -> Result<Self, NdpError> {
        let packet = Self::new_typed(buffer, header)?;
        packet.check_header(header)?;
        packet.check_options()?;
        packet.check_roles(header)?;
        Ok(packet)
    }

    /// The message's kind comes first: what is no neighbour message has broken none of its rules.
    fn new_typed(buffer: T, header: &Ipv6Repr) -> Result<Self, NdpError> {
        if header.next_header != ICMPV6 {
            return Err(NdpError::NextHeader(header.next_header));
        }
        let have = buffer.as_ref().len();
        let short = NdpError::Truncated(Truncated { have, need: field::OPTIONS });
        match buffer.as_ref().first() {
            Some(&(SOLICIT | ADVERT)) if have >= field::OPTIONS => Ok(Self { buffer }),
            Some(&(SOLICIT | ADVERT)) | None => Err(short),
            Some(&other) => Err(NdpError::Type(other)),
        }
    }

    fn check_header(&self, header: &Ipv6Repr) -> Result<(), NdpError> {
        let bytes = self.buffer.as_ref();
        if header.hop_limit != HOP_LIMIT {
            return Err(NdpError::HopLimit(header.hop_limit));
        }
        if icmpv6_checksum(header.source, header.destination, bytes) != 0 {
            return Err(NdpError::Checksum);
        }
        if bytes[field::CODE] != 0 {
            return Err(NdpError::Code(bytes[field::CODE]));
        }
        if self.target().is_multicast() {
            return Err(NdpError::GroupTarget(self.target()));
        }
        if header.source.is_multicast() { Err(NdpError::GroupSource(header.source)) } else { Ok(()) }
    }

    /// Every option must have a length, even those that nobody here reads.
    fn check_options(&self) -> Result<(), NdpError> {
        let mut rest = &self.buffer.as_ref()[field::OPTIONS..];
        while let Some(&kind) = rest.first() {
            let units = rest.get(field::OPTION_LENGTH).copied();
            let Some(units) = units else {
                return Err(NdpError::OptionOverrun(Truncated { have: 1, need: UNIT }));
            };
            let (have, need) = (rest.len(), usize::from(units) * UNIT);
            if need == 0 {
                return Err(NdpError::OptionLength);
            }
            if have < need {
                return Err(NdpError::OptionOverrun(Truncated { have, need }));
            }
            if kind == self.link_layer_option() && need != LINK_LAYER_LEN {
                return Err(NdpError::LinkLayerLength(units));
            }
            rest = &rest[need..];
        }
        Ok(())
    }

    /// What source, destination, flags and options may not say together.
    fn check_roles(&self, header: &Ipv6Repr) -> Result<(), NdpError> {
        let (source, destination) = (header.source, header.destination);
        if self.is_solicit() {
            if source.is_unspecified() && !is_solicited_node(destination) {
                return Err(NdpError::UnspecifiedSource(destination));
            }
            if source.is_unspecified() && self.link_layer().is_some() {
                return Err(NdpError::UnspecifiedWithLinkLayer);
            }
            return Ok(());
        }
        if source.is_unspecified() {
            return Err(NdpError::UnspecifiedSource(destination));
        }
        if self.flag(SOLICITED) && destination.is_multicast() {
            return Err(NdpError::SolicitedToGroup(destination));
        }
        Ok(())
    }

    /// Whether it asks; else it tells.
    pub fn is_solicit(&self) -> bool {
        self.buffer.as_ref()[field::TYPE] == SOLICIT
    }

    /// The address asked for, or told about.
    pub fn target(&self) -> Ipv6Addr {
        Ipv6Addr::from(octets::<16>(&self.buffer.as_ref()[field::TARGET]))
    }

    /// The sender's Ethernet address in a solicitation, the target's in an advertisement; the first one counts.
    pub fn link_layer(&self) -> Option<MacAddr> {
        let mut rest = self.buffer.as_ref().get(field::OPTIONS..)?;
        while let (Some(&kind), Some(&units)) = (rest.get(field::OPTION_TYPE), rest.get(field::OPTION_LENGTH))
        {
            let option = rest.get(..(usize::from(units) * UNIT).max(UNIT))?;
            if kind == self.link_layer_option() {
                return Some(MacAddr(octets(&option[field::OPTION_VALUE..LINK_LAYER_LEN])));
            }
            rest = &rest[option.len()..];
        }
        None
    }

    fn flag(&self, flag: u8) -> bool {
        self.buffer.as_ref()[field::FLAGS] & flag != 0
    }

    fn link_layer_option(&self) -> u8 {
        if self.is_solicit() { SOURCE_LINK_LAYER } else { TARGET_LINK_LAYER }
    }
}

impl<T: AsRef<[u8]>> fmt::Display for NdpPacket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NdpRepr::parse(self).fmt(f)
    }
}

/// The meaning of a solicitation or advertisement; options other than link-layer addresses are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdpRepr {
    /// Who has the target?
    Solicit {
        /// The address asked for.
        target: Ipv6Addr,
        /// The asking host's Ethernet address (SLLA).
        link_layer: Option<MacAddr>,
    },
    /// The target is there.
    Advert {
        /// The address told about.
        target: Ipv6Addr,
        /// Its Ethernet address (TLLA).
        link_layer: Option<MacAddr>,
        /// R, S and O.
        flags: AdvertFlags,
    },
}

/// The flags of an advertisement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdvertFlags {
    /// R: the sender is a router.
    pub router: bool,
    /// S: it answers a solicitation of its receiver, and so proves that the address can be reached.
    pub solicited: bool,
    /// O: it replaces what a cache holds.
    pub overrides: bool,
}

impl NdpRepr {
    /// Most bytes that a message takes.
    pub const MAX_LEN: usize = field::OPTIONS + LINK_LAYER_LEN;

    /// Reads a message.
    pub fn parse<T: AsRef<[u8]>>(packet: &NdpPacket<T>) -> Self {
        let (target, link_layer) = (packet.target(), packet.link_layer());
        if packet.is_solicit() {
            return Self::Solicit { target, link_layer };
        }
        let flags = AdvertFlags {
            router: packet.flag(ROUTER),
            solicited: packet.flag(SOLICITED),
            overrides: packet.flag(OVERRIDE),
        };
        Self::Advert { target, link_layer, flags }
    }

    /// The address asked for or told about.
    pub fn target(&self) -> Ipv6Addr {
        match self {
            Self::Solicit { target, .. } | Self::Advert { target, .. } => *target,
        }
    }

    /// The Ethernet address that the message carries.
    pub fn link_layer(&self) -> Option<MacAddr> {
        match self {
            Self::Solicit { link_layer, .. } | Self::Advert { link_layer, .. } => *link_layer,
        }
    }

    /// The message's length in bytes.
    pub fn wire_len(&self) -> usize {
        field::OPTIONS + self.link_layer().map_or(0, |_| LINK_LAYER_LEN)
    }

    /// Writes the message, every byte of it, at the start of a buffer, with the checksum for these addresses.
    pub fn emit(&self, source: Ipv6Addr, destination: Ipv6Addr, buffer: &mut [u8]) -> Result<(), Truncated> {
        let (have, need) = (buffer.len(), self.wire_len());
        let message = buffer.get_mut(..need).ok_or(Truncated { have, need })?;
        let (kind, flags, option) = match self {
            Self::Solicit { .. } => (SOLICIT, 0, SOURCE_LINK_LAYER),
            Self::Advert { flags, .. } => (ADVERT, flags.bits(), TARGET_LINK_LAYER),
        };
        message[field::TYPE] = kind;
        message[field::CODE] = 0;
        message[field::CHECKSUM].fill(0);
        message[field::RESERVED].copy_from_slice(&[flags, 0, 0, 0]);
        message[field::TARGET].copy_from_slice(&self.target().octets());
        if let Some(MacAddr(mac)) = self.link_layer() {
            let bytes = &mut message[field::OPTIONS..];
            bytes[field::OPTION_TYPE] = option;
            bytes[field::OPTION_LENGTH] = 1;
            bytes[field::OPTION_VALUE..].copy_from_slice(&mac);
        }
        let checksum = icmpv6_checksum(source, destination, message);
        message[field::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        Ok(())
    }
}

impl AdvertFlags {
    fn bits(self) -> u8 {
        let bit = |set, flag| if set { flag } else { 0 };
        bit(self.router, ROUTER) | bit(self.solicited, SOLICITED) | bit(self.overrides, OVERRIDE)
    }
}

impl fmt::Display for AdvertFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |set, letter| if set { letter } else { '-' };
        let Self { router, solicited, overrides } = *self;
        write!(f, "{}{}{}", letter(router, 'R'), letter(solicited, 'S'), letter(overrides, 'O'))
    }
}

impl fmt::Display for NdpRepr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Solicit { target, .. } => write!(f, "NDP, Solicit who-has {target}")?,
            Self::Advert { target, flags, .. } => write!(f, "NDP, Advert {target} is-there {flags}")?,
        }
        match self.link_layer() {
            Some(mac) => write!(f, " ({mac})"),
            None => Ok(()),
        }
    }
}

/// A message with its Ethernet and IPv6 addresses: what goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdpFrame {
    /// Ethernet destination.
    pub destination: MacAddr,
    /// Ethernet source.
    pub source: MacAddr,
    /// IPv6 source.
    pub from: Ipv6Addr,
    /// IPv6 destination.
    pub to: Ipv6Addr,
    /// The message.
    pub ndp: NdpRepr,
}

impl NdpFrame {
    /// Most bytes that a frame takes, without the padding that a driver may add.
    pub const MAX_LEN: usize = EthernetRepr::LEN + Ipv6Repr::LEN + NdpRepr::MAX_LEN;

    /// Who has `target`? Asked by the host `mac` that has `from`.
    pub fn solicit(mac: MacAddr, from: Ipv6Addr, target: Ipv6Addr) -> Self {
        let to = solicited_node(target);
        let ndp = NdpRepr::Solicit { target, link_layer: Some(mac) };
        Self { destination: ethernet_group(to), source: mac, from, to, ndp }
    }

    /// Does anybody have the address? Without a source, so that no cache is changed (RFC 4862 §5.4.2).
    pub fn probe(mac: MacAddr, address: Ipv6Addr) -> Self {
        let ndp = NdpRepr::Solicit { target: address, link_layer: None };
        Self { ndp, ..Self::solicit(mac, Ipv6Addr::UNSPECIFIED, address) }
    }

    /// `mac` has the address, said to everybody unasked (RFC 4861 §7.2.6). `from` is an address of the interface, or
    /// the address itself.
    pub fn unsolicited(mac: MacAddr, from: Ipv6Addr, address: Ipv6Addr) -> Self {
        let flags = AdvertFlags { overrides: true, ..AdvertFlags::default() };
        let ndp = NdpRepr::Advert { target: address, link_layer: Some(mac), flags };
        Self { destination: ethernet_group(ALL_NODES), source: mac, from, to: ALL_NODES, ndp }
    }

    /// The answer to a solicitation: `mac` has what was asked for. A probe is answered to everybody (RFC 4861 §7.2.4),
    /// everything else to the asking host: to its SLLA, without one to where the frame came from.
    pub fn answer(solicit: &Self, mac: MacAddr, from: Ipv6Addr) -> Self {
        let target = solicit.ndp.target();
        let unsolicited = Self::unsolicited(mac, from, target);
        if solicit.from.is_unspecified() {
            return unsolicited;
        }
        let flags = AdvertFlags { solicited: true, overrides: true, router: false };
        Self {
            destination: solicit.ndp.link_layer().unwrap_or(solicit.source),
            to: solicit.from,
            ndp: NdpRepr::Advert { target, link_layer: Some(mac), flags },
            ..unsolicited
        }
    }

    /// Reads a frame; padding and junk behind the packet are ignored.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame = EthernetFrame::new_checked(bytes)?;
        if frame.ethertype() != EtherType::IPV6 {
            return Err(FrameError::EtherType(frame.ethertype()));
        }
        let packet = Ipv6Packet::new_checked(frame.payload())?;
        let header = Ipv6Repr::parse(&packet);
        let ndp = NdpRepr::parse(&NdpPacket::new_checked(packet.payload(), &header)?);
        let (destination, source) = (frame.destination(), frame.source());
        Ok(Self { destination, source, from: header.source, to: header.destination, ndp })
    }

    /// The frame's length in bytes.
    pub fn wire_len(&self) -> usize {
        EthernetRepr::LEN + Ipv6Repr::LEN + self.ndp.wire_len()
    }

    /// Writes the frame, every byte of it, at the start of a buffer.
    pub fn emit(&self, buffer: &mut [u8]) -> Result<(), Truncated> {
        let (have, need) = (buffer.len(), self.wire_len());
        let bytes = buffer.get_mut(..need).ok_or(Truncated { have, need })?;
        let mut frame = EthernetFrame::new_checked(bytes)?;
        let (destination, source, ethertype) = (self.destination, self.source, EtherType::IPV6);
        EthernetRepr { destination, source, ethertype }.emit(&mut frame);
        let (header, message) = frame.payload_mut().split_at_mut(Ipv6Repr::LEN);
        let payload_len = u16::try_from(message.len()).unwrap_or(u16::MAX);
        Ipv6Repr {
            source: self.from,
            destination: self.to,
            next_header: ICMPV6,
            hop_limit: HOP_LIMIT,
            payload_len,
        }
        .emit(header)?;
        self.ndp.emit(self.from, self.to, message)
    }
}

impl fmt::Display for NdpFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { destination, source, from, to, ndp } = self;
        write!(f, "{source} > {destination}, {from} > {to}, {ndp}")
    }
}

/// Whether it is one of the groups `ff02::1:ff00:0/104`.
fn is_solicited_node(address: Ipv6Addr) -> bool {
    address == solicited_node(address)
}

#[cfg(test)]
mod tests;
