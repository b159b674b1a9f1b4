//! Counter-based random numbers: the same seed, sequence and position give the same number on any
//! machine, in any order.
//!
//! The generator is Philox 4x32 with 10 rounds, from Salmon, Moraes, Dror and Shaw, "Parallel
//! random numbers: as easy as 1, 2, 3", SC11. It has no state to carry: a random number is a hash
//! of where it is used.

/// The multipliers of the two halves of a round.
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];

/// What the two key words grow by between rounds: the golden ratio and √3 - 1, as fractions of
/// 2^32.
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

const ROUNDS: usize = 10;

/// Encrypts a 128-bit counter under a 64-bit key into 128 random bits.
///
/// Words are in the order of the reference implementation, least significant first.
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut state = counter;
    let mut key = key;
    for _ in 0..ROUNDS {
        let [low_0, high_0] = multiply(MULTIPLIERS[0], state[0]);
        let [low_1, high_1] = multiply(MULTIPLIERS[1], state[2]);
        state = [high_1 ^ state[1] ^ key[0], low_1, high_0 ^ state[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    state
}

/// The random number in [0, 1) for a position of a sequence, a multiple of 2^-24.
///
/// Device kernels reproduce this exactly. The Philox key is the low then the high word of `seed`;
/// the counter is the low then the high word of `position`, then those of `sequence`. The answer
/// is the top 24 bits of the first output word, times 2^-24, and so never rounds.
pub fn uniform(seed: u64, sequence: u64, position: u64) -> f32 {
    let [position_low, position_high] = words(position);
    let [sequence_low, sequence_high] = words(sequence);
    let counter = [position_low, position_high, sequence_low, sequence_high];
    let [word, ..] = philox4x32_10(counter, words(seed));
    (word >> 8) as f32 / (1 << 24) as f32
}

/// The low and the high word of a 32 by 32 bit product.
fn multiply(a: u32, b: u32) -> [u32; 2] {
    words(u64::from(a) * u64::from(b))
}

/// The low and the high word.
fn words(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors published with the paper's Random123 library.
    #[test]
    fn known_answers() {
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32_10([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn uniform_is_the_top_24_bits_of_the_first_word() {
        assert_eq!(uniform(0, 0, 0), 0x0066_27e8 as f32 / 16_777_216.0);
        assert_eq!(uniform(u64::MAX, u64::MAX, u64::MAX), 0x0040_8f27 as f32 / 16_777_216.0);
        // The third known answer, with each argument's low word first.
        let drawn = uniform(0x299f_31d0_a409_3822, 0x0370_7344_1319_8a2e, 0x85a3_08d3_243f_6a88);
        assert_eq!(drawn, 0x00d1_6cfe as f32 / 16_777_216.0);
    }

    #[test]
    fn uniform_covers_the_unit_interval_evenly() {
        const DRAWS: u64 = 20_000;
        const BINS: usize = 16;
        let mut counts = [0u32; BINS];
        for position in 0..DRAWS {
            let drawn = uniform(7, 3, position);
            assert!((0.0..1.0).contains(&drawn));
            counts[(drawn * BINS as f32) as usize] += 1;
        }
        // Five standard deviations of a bin's count.
        let expected = DRAWS as f64 / BINS as f64;
        for count in counts {
            assert!((f64::from(count) - expected).abs() < 5.0 * expected.sqrt(), "{counts:?}");
        }
    }

    #[test]
    fn every_argument_matters() {
        let drawn = [uniform(1, 2, 3), uniform(0, 2, 3), uniform(1, 0, 3), uniform(1, 2, 0)];
        for (index, value) in drawn.iter().enumerate() {
            assert!(!drawn[..index].contains(value), "{drawn:?}");
        }
    }
}
