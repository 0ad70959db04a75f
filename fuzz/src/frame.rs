// SPDX-License-Identifier: Apache-2.0
//! Frames of both neighbour protocols: what is read is written alike, and shown on one line.

use gateherald_wire::{
    ArpFrame, ArpPacket, EthernetFrame, EthernetRepr, FrameError, Ipv6Packet, Ipv6Repr, NdpError, NdpFrame,
    NeighborFrame,
};

/// Where the checksum of a neighbour message is, behind Ethernet and IPv6.
const CHECKSUM: std::ops::Range<usize> = 56..58;

/// Any bytes: they are refused with a reason, or read; what was read is written so that it is read alike.
pub fn frame(bytes: &[u8]) {
    headers(bytes);
    match ArpFrame::parse(bytes) {
        Ok(arp) => {
            assert_eq!(written(arp.into()), bytes.get(..ArpFrame::LEN).unwrap_or_default());
            one_line(&arp.to_string());
        }
        Err(error) => one_line(&error.to_string()),
    }
    let read = neighbour_message(bytes);
    // Without the right checksum no mutation would get to what lies behind it.
    if read == Err(FrameError::Ndp(NdpError::Checksum)) {
        let mended = mend(bytes);
        assert_ne!(neighbour_message(&mended), read);
    }
}

fn neighbour_message(bytes: &[u8]) -> Result<NdpFrame, FrameError> {
    let read = NdpFrame::parse(bytes);
    match &read {
        Ok(ndp) => {
            let again = written((*ndp).into());
            assert_eq!(NdpFrame::parse(&again).as_ref(), Ok(ndp));
            assert!(again.len() <= bytes.len());
            one_line(&ndp.to_string());
        }
        Err(error) => one_line(&error.to_string()),
    }
    read
}

fn headers(bytes: &[u8]) {
    let Ok(ethernet) = EthernetFrame::new_checked(bytes) else {
        return assert!(bytes.len() < EthernetRepr::LEN);
    };
    one_line(&EthernetRepr::parse(&ethernet).to_string());
    if let Ok(packet) = Ipv6Packet::new_checked(ethernet.payload()) {
        assert_eq!(packet.payload().len(), packet.payload_len());
        one_line(&Ipv6Repr::parse(&packet).to_string());
    }
    if let Ok(packet) = ArpPacket::new_checked(ethernet.payload()) {
        one_line(&packet.to_string());
    }
}

fn written(frame: NeighborFrame) -> Vec<u8> {
    let mut buffer = [0xa5; NeighborFrame::MAX_LEN];
    let Ok(bytes) = frame.emit(&mut buffer) else { panic!("{frame} is longer than any frame") };
    bytes.to_vec()
}

/// The bytes with the checksum that belongs to them, found without the code under test: the one that is accepted.
fn mend(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let length = usize::from(u16::from_be_bytes([bytes[18], bytes[19]]));
    mended[CHECKSUM].fill(0);
    let words = |bytes: &[u8]| -> u64 {
        let word =
            |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or_default());
        bytes.chunks(2).map(word).sum()
    };
    let mut sum = words(&mended[22..54]) + words(&mended[54..54 + length]) + length as u64 + 58;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).unwrap_or_default();
    mended[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    mended
}

fn one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
}
