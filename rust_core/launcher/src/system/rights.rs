//! What a process may still do.

use std::io;
use std::ptr;

use libc::{c_int, c_ulong};

use super::{check, check_long};

/// A `prctl` that takes numbers.
pub fn prctl(option: c_int, value: c_ulong) -> io::Result<c_int> {
    // SAFETY: the options used take no pointers.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) })
}

/// Gives up every capability but those in `kept` (a bit mask), for this process and all it starts.
pub fn keep_capabilities(kept: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    const SECURE_BITS: c_ulong = 0b1110_1111; // no rights from uid 0, none kept or raised by others; all locked
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    for capability in 0..64 {
        // Numbers this kernel does not know are refused.
        if kept & (1 << capability) == 0 && prctl(libc::PR_CAPBSET_DROP, capability).is_err() && capability > 40 {
            break;
        }
    }
    let _ = prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong);
    if kept == 0 {
        // May be refused where we never had the right to; then uid 0 is held by no-new-privileges alone.
        let _ = prctl(libc::PR_SET_SECUREBITS, SECURE_BITS);
    }
    let header = Header { version: VERSION_3, pid: 0 };
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let sets: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: version 3 takes two triples of 32 bits.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) }).map(drop)
}

/// Sets both the soft and the hard limit of a resource, never above what is in force.
pub fn limit(resource: u32, value: u64) -> io::Result<()> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is the kernel's.
    check(unsafe { libc::getrlimit(resource as _, &raw mut old) })?;
    let value = value.min(old.rlim_max);
    let new = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(resource as _, &raw const new) }).map(drop)
}

/// The kernel's Landlock version; 0 where there is none.
pub fn landlock_version() -> u8 {
    // SAFETY: with these arguments it answers with a number only.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0usize, 1u32) };
    u8::try_from(version).unwrap_or(0)
}
