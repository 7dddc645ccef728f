//! The sum of all ranks, and results that all ranks agree on.

use std::thread;

use super::*;

/// Runs `work` on each of `count` ranks and returns what they return.
fn on_ranks<T: Send>(count: usize, work: impl Fn(&dyn Ranks) -> T + Sync) -> Vec<T> {
    let group = ThreadRanks::group(count);
    thread::scope(|scope| {
        let spawned = group
            .iter()
            .map(|ranks| scope.spawn(|| work(ranks.as_ref())));
        let spawned: Vec<_> = spawned.collect();
        spawned
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Value `n` of rank `rank`: of magnitudes so different that the order of additions matters.
fn value(rank: usize, n: usize) -> f32 {
    let sign = if (rank + n).is_multiple_of(3) {
        -1.0
    } else {
        1.0
    };
    sign * (1.0 + (rank * 7 + n * 13) as f32 / 11.0) * 10f32.powi((rank * 5 + n) as i32 % 9 - 4)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn the_sum_is_that_of_one_tree() {
    for count in [1, 2, 4, 8] {
        for len in [0, 1, 2, 3, 7, 64, 101] {
            let mut level: Vec<Vec<f32>> = (0..count)
                .map(|rank| (0..len).map(|n| value(rank, n)).collect())
                .collect();
            let in_order: Vec<f32> = (0..len)
                .map(|n| level.iter().map(|values| values[n]).sum())
                .collect();
            while level.len() > 1 {
                let pairs = level.chunks(2).map(|pair| {
                    let pair = pair[0].iter().zip(&pair[1]);
                    pair.map(|(a, b)| a + b).collect()
                });
                level = pairs.collect();
            }
            let sums = on_ranks(count, |ranks| {
                let mut own: Vec<f32> = (0..len).map(|n| value(ranks.rank(), n)).collect();
                ranks.sum(&mut own).unwrap();
                own
            });
            for sum in &sums {
                assert_eq!(bits(sum), bits(&level[0]), "{count} ranks, {len} values");
            }
            // The test would not see another order otherwise.
            if count >= 4 && len >= 64 {
                assert_ne!(bits(&in_order), bits(&level[0]));
            }
        }
    }
}

#[test]
fn values_below_the_least_normal_number_are_flushed() {
    let least = f32::MIN_POSITIVE;
    let sums = on_ranks(2, |ranks| {
        let mut own = match ranks.rank() {
            0 => [1.5 * least, -0.0, f32::NAN, least, 3.0 * least],
            _ => [-least, -0.0, 1.0, 0.0, -least],
        };
        ranks.sum(&mut own).unwrap();
        own
    });
    for sum in sums {
        assert_eq!(bits(&sum[..2]), [0, 0]);
        assert!(sum[2].is_nan());
        assert_eq!(sum[3..], [least, 2.0 * least]);
    }
}

#[test]
fn all_ranks_return_the_first_error() {
    let errors = on_ranks(4, |ranks| {
        let result = match ranks.rank() {
            0 | 2 => Ok(()),
            1 => Err(Error::usage("one")),
            _ => Err(Error::Failed("three".into())),
        };
        let error = agreed(ranks, result).unwrap_err();
        (error.exit_code(), error.to_string())
    });
    assert_eq!(errors, vec![(2, "one".to_string()); 4]);
    let all = on_ranks(2, |ranks| agreed(ranks, Ok(ranks.rank())).unwrap());
    assert_eq!(all, [0, 1]);
    let sums = on_ranks(2, |ranks| {
        let mut counts = [1, 10 * ranks.rank() as u32];
        sum_counts(ranks, &mut counts).unwrap();
        counts
    });
    assert_eq!(sums, [[2, 10]; 2]);
}

#[test]
fn ranks_must_divide_the_parts_of_a_batch() {
    for (count, parts, allowed) in [(1, 8, true), (8, 8, true), (3, 8, false), (4, 2, false)] {
        let group = ThreadRanks::group(count);
        let checked = check_count(group[0].as_ref(), parts);
        assert_eq!(checked.is_ok(), allowed, "{count} {parts}");
        if let Err(error) = checked {
            assert!(error.to_string().contains("start 1 or 2"), "{error}");
        }
    }
}
