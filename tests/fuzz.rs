//! The fuzz targets without a fuzzer: every seed, and mutations of them that are the same in each run.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the fuzzer's library too")]
mod fuzz;

use fuzz::Target;

#[test]
fn names_hold() {
    mutated("names", 20_000);
}

#[test]
fn filters_hold() {
    mutated("filters", 20_000);
}

#[test]
fn tokens_hold() {
    mutated("tokens", 2_000);
}

#[test]
fn configurations_hold() {
    mutated("config", 4_000);
}

#[test]
fn bodies_of_calls_hold() {
    mutated("calls", 1_500);
}

#[test]
fn requests_through_the_doors_hold() {
    mutated("doors", 4_000);
}

#[test]
fn answers_of_connect_hold() {
    mutated("connect", 120);
}

#[test]
fn answers_of_lex_hold() {
    mutated("lex", 120);
}

#[test]
fn answers_of_openmetadata_hold() {
    mutated("openmetadata", 120);
}

/// Runs a target over its seeds and over so many mutations of them. Shows the input that breaks something.
fn mutated(name: &str, mutations: usize) {
    let target = Target::from_name(name);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // A folder has no order of its own.
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(seeds.len() >= 4, "{} has {} seeds", folder.display(), seeds.len());
    for seed in &seeds {
        held(target, seed);
    }
    let mut dice = Dice(0x5eed_0000_0000_0001);
    for _ in 0..mutations {
        held(target, &dice.mutate(&seeds));
    }
}

fn held(target: Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| fuzz::run(target, input))) {
        println!("{target:?} does not hold for {:?}", String::from_utf8_lossy(input));
        println!("which is {input:?}");
        std::panic::resume_unwind(panic);
    }
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        const TELLING: &[u8] = b"\0\x01\x7f\x80\xff/%.-\"\\'{}[]()<>=:,_ \n0129aAzZ";
        if self.below(2) == 0 { TELLING[self.below(TELLING.len())] } else { self.below(256) as u8 }
    }

    /// A seed with a few places changed, doubled, cut, or taken from another seed.
    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(input.len() + 1);
            let end = (at + self.below(16)).min(input.len());
            match self.below(7) {
                0 if at < input.len() => input[at] = self.byte(),
                1 if at < input.len() => input[at] ^= 1 << self.below(8),
                2 => {
                    let byte = self.byte();
                    input.insert(at, byte);
                }
                3 => drop(input.drain(at..end)),
                4 => {
                    let part = input[at..end].to_vec();
                    input.splice(at..at, part);
                }
                5 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    let part = other[from..(from + self.below(64)).min(other.len())].to_vec();
                    input.splice(at..at, part);
                }
                _ => input.truncate(at.max(1)),
            }
        }
        input
    }
}
