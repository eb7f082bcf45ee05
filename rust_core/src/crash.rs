//! Named points at which a test's process ends itself with SIGKILL, as if somebody had sent kill -9 just there. They
//! exist in test builds only.

/// A point named `name`.
#[cfg(not(test))]
#[inline(always)]
pub fn point(_name: &str) {}

/// Ends this process where `CLAW_TEST_CRASH_AT` names this point, at its n-th passing where `:n` follows.
#[cfg(test)]
pub fn point(name: &str) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    let Ok(wanted) = std::env::var("CLAW_TEST_CRASH_AT") else { return };
    let (wanted, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if wanted == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == nth.parse().unwrap_or(1) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests;
