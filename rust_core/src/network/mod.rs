//! Which hosts a sandboxed command may talk to, and the proxy that is its only way out.
//!
//! A command in the sandbox has no network of its own. It may reach the hosts that rules grant, through a proxy that runs
//! in this process, looks up names itself and connects to the very address it judged. What it cannot see is what an
//! encrypted connection says inside: a granted host that serves other hosts' content is granted with all it serves.

mod client_hello;
mod host;
mod hosts;
mod proxy;
mod relay;
mod request;
mod way_out;

pub use host::{Host, is_public_address};
pub use hosts::{HostPattern, Hosts};
pub use proxy::{Proxy, Refusal};
pub use way_out::WayOut;
