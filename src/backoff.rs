//! Exponential back-off with jitter.

use std::time::Duration;

/// Exponential back-off with full jitter: the `n`th delay is drawn evenly from `0 ..= min(cap, base * 2^n)`, but never
/// below a tenth of that bound, so a refused request is never repeated at once. Seeded, so tests repeat exactly.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    /// A back-off that has not failed yet.
    #[must_use]
    pub fn new(base: Duration, cap: Duration, seed: u64) -> Self {
        Self { base, cap, attempt: 0, rng: fastrand::Rng::with_seed(seed) }
    }

    /// How long to wait after one more failure.
    pub fn fail(&mut self) -> Duration {
        let bound = self.base.saturating_mul(1_u32.checked_shl(self.attempt).unwrap_or(u32::MAX)).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        bound.mul_f64(0.1 + 0.9 * self.rng.f64())
    }

    /// How many failures since the last success.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Start over: it worked.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_start_over_after_a_success() {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut backoff = Backoff::new(base, cap, 1);
        for n in 0..40_u32 {
            let bound = base.saturating_mul(2_u32.saturating_pow(n)).min(cap);
            let delay = backoff.fail();
            assert!(delay <= bound && delay >= bound / 10, "{n}: {delay:?}");
        }
        backoff.reset();
        assert!(backoff.fail() <= base);
    }

    #[test]
    fn a_thousand_clients_do_not_fail_in_step() {
        let mut delays: Vec<_> =
            (0..1000).map(|seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(1), seed).fail()).collect();
        delays.sort();
        let (low, high) = (delays[250].as_secs_f64(), delays[750].as_secs_f64());
        assert!(low < 0.45 && high > 0.65, "{low} {high}");
    }
}
