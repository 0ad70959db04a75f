// SPDX-License-Identifier: Apache-2.0
//! Every target over its seeds and mutations of them. The mutations are the same in every run, so that a failure stays.

use std::{fs, path::Path};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::TARGETS;

/// Mutations of each target: some seconds in a debug build.
const MUTATIONS: u64 = 20_000;
/// What parsers stumble over, of JSON and of packets.
const WORDS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"\"\"",
    b"{}",
    b"\\ud800",
    b"\\u0000",
    b"/",
    b"~1",
    b"~",
    b"\0",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"labels",
];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A place in `bytes`, its end included.
fn place(bytes: &[u8], random: &mut StdRng) -> usize {
    random.random_range(0..=bytes.len())
}

fn piece<'a>(bytes: &'a [u8], random: &mut StdRng) -> &'a [u8] {
    let (a, b) = (place(bytes, random), place(bytes, random));
    &bytes[a.min(b)..a.max(b).min(a.min(b) + 64)]
}

/// Changes a few places.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut StdRng) {
    for _ in 0..random.random_range(1..=4) {
        let at = place(bytes, random);
        match random.random_range(0..6) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
            1 => drop(bytes.splice(at..at, WORDS.choose(random).unwrap().iter().copied())),
            2 => drop(bytes.drain(at..(at + random.random_range(1..=32)).min(bytes.len()))),
            3 => drop(bytes.splice(at..at, piece(other, random).iter().copied())),
            4 => {
                let copied = piece(bytes, random).to_vec();
                bytes.splice(at..at, copied);
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
}

#[test]
fn every_target_holds_for_its_seeds_and_their_mutations() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in &seeds {
            target(seed);
        }
        let mut random = StdRng::seed_from_u64(0);
        for number in 0..MUTATIONS {
            let mut bytes = seeds.choose(&mut random).unwrap().clone();
            mutate(&mut bytes, seeds.choose(&mut random).unwrap(), &mut random);
            let held = std::panic::catch_unwind(|| target(&bytes));
            assert!(held.is_ok(), "{name}, mutation {number}: {}", bytes.escape_ascii());
        }
    }
}

#[test]
fn every_target_has_its_file_for_libfuzzer() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer");
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let file = fs::read_to_string(directory.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(file.contains(&format!("gateherald_fuzz::{name}(bytes)")), "{name}");
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
    }
}
