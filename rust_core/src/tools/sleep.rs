//! Sleep: waits, without holding anything.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::process::timespec;

const MAX_SECONDS: f64 = 600.0;
/// How often the person sees that it still waits.
const TICK: Duration = Duration::from_secs(10);
/// A cancel token without a descriptor is looked at this often.
const GLANCE: Duration = Duration::from_millis(50);

/// Waits.
pub struct Sleep;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// At most 600.
    #[schemars(range(min = 0, max = 600))]
    seconds: f64,
}

impl Tool for Sleep {
    fn name(&self) -> &'static str {
        "Sleep"
    }

    fn description(&self) -> &'static str {
        "Wait. To wait for a background job use BashOutput with wait_seconds."
    }

    fn schema(&self) -> Value {
        schema_of::<Arguments>()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn is_deferred(&self) -> bool {
        true
    }

    fn effect_kinds(&self) -> &'static [&'static str] {
        &[]
    }

    fn limits(&self) -> &'static [Limit] {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        const {
            &[Limit::seconds("", MAX_SECONDS as u64)]
        }
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Sleep", arguments)?;
        if !(0.0..=MAX_SECONDS).contains(&parsed.seconds) {
            return Err(format!("Sleep was not run: seconds is from 0 to {MAX_SECONDS}."));
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        format!("Sleep {} s", self.seconds)
    }

    fn effects(&self) -> Vec<Effect> {
        Vec::new()
    }

    fn preview(&self, _context: &Context<'_>) -> Result<Value, ToolError> {
        Ok(json!({"kind": "none"}))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let until = Instant::now() + Duration::from_secs_f64(self.seconds);
        let mut next = Instant::now() + TICK;
        while !context.cancel.is_cancelled() {
            let now = Instant::now();
            if now >= until {
                return Ok(Output::text(format!("Slept {} s.", self.seconds)));
            }
            if now >= next {
                next += TICK;
                (context.on_output)(&format!("{:.0} s left\n", (until - now).as_secs_f64()));
            }
            let wait = until.min(next).saturating_duration_since(now);
            match context.cancel.wake() {
                Some(wake) => drop(poll(&mut [PollFd::new(&wake, PollFlags::IN)], Some(&timespec(wait)))),
                None => std::thread::sleep(wait.min(GLANCE)),
            }
        }
        Err(ToolError::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sensible_time_is_taken() {
        for bad in [r#"{"seconds": -1}"#, r#"{"seconds": 600.5}"#, r#"{"seconds": "5"}"#, "{}", r#"{"seconds": 1e999}"#]
        {
            assert!(Sleep.parse(bad).is_err(), "{bad}");
        }
        assert!(Sleep.parse(r#"{"seconds": 0.5}"#).is_ok());
    }
}
