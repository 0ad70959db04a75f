// SPDX-License-Identifier: Apache-2.0
//! What the kernel tells about a packet besides its bytes.

/// What `sockaddr_ll` and `PACKET_AUXDATA` tell about a received frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketMeta {
    /// To whom the kernel thinks it was sent.
    pub packet_type: PacketType,
    /// The 802.1Q tag control information that the kernel took out of the frame; none if it had no tag.
    pub vlan_tci: Option<u16>,
}

impl PacketMeta {
    /// The frame belongs to a VLAN, and so not to the interface that shows it. A tag with VLAN 0 carries
    /// only a priority (802.1Q §6.9): such a frame is the interface's own.
    pub fn in_vlan(self) -> bool {
        self.vlan_tci.is_some_and(|tci| tci & 0x0fff != 0)
    }
}

/// `sll_pkttype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketType {
    /// To this interface's address.
    #[default]
    Host,
    /// To everybody.
    Broadcast,
    /// To a group.
    Multicast,
    /// To another host, seen because the interface is promiscuous.
    OtherHost,
    /// Sent by this host.
    Outgoing,
    /// A value that Linux does not show to packet sockets.
    Unknown(u8),
}

impl From<u8> for PacketType {
    fn from(raw: u8) -> Self {
        match raw {
            0 => Self::Host,
            1 => Self::Broadcast,
            2 => Self::Multicast,
            3 => Self::OtherHost,
            4 => Self::Outgoing,
            other => Self::Unknown(other),
        }
    }
}

#[cfg(test)]
mod tests;
