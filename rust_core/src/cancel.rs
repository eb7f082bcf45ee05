//! The flag one side sets and the other watches, also from inside a `poll`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Cancelling is final and may be done from any thread.
pub struct CancelToken {
    is_cancelled: AtomicBool,
    /// Readable from the moment of cancelling on; nobody ever reads it.
    wake: Option<OwnedFd>,
}

impl Default for CancelToken {
    fn default() -> Self {
        // Without a descriptor to spare the flag alone still works: waits then look at it every so often.
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok();
        Self { is_cancelled: AtomicBool::new(false), wake }
    }
}

impl CancelToken {
    /// Sets the flag and wakes whoever polls.
    pub fn cancel(&self) {
        if !self.is_cancelled.swap(true, Ordering::AcqRel)
            && let Some(wake) = &self.wake
        {
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }

    /// True once `cancel` was called.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// What becomes readable on cancelling.
    pub fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelling_twice_is_cancelling_once() {
        let token = CancelToken::default();
        assert!(!token.is_cancelled());
        token.cancel();
        token.cancel();
        assert!(token.is_cancelled());
    }
}
