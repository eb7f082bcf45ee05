//! The gate's policy: set, added to, shown and asked.

use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Core;
use crate::example;
use crate::network::Host;
use crate::permission::{Behavior, Mode, Policy, Rule, RuleError};
use crate::visible::visible;

/// One rule as it crosses to Python.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    behavior: Behavior,
    rule: String,
    #[serde(default)]
    source: String,
    /// Examples it must match, and must not; checked here and then forgotten.
    #[serde(default, skip_serializing)]
    matches: Vec<String>,
    #[serde(default, skip_serializing)]
    not_matches: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPolicy {
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    rules: Vec<WrittenRule>,
}

impl Core {
    /// Replaces mode and rules; an error leaves the old ones in force.
    pub fn set_policy(&self, text: &str) -> Result<(), RuleError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let written: WrittenPolicy = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| RuleError(format!("The policy cannot be read: {error}.")))?;
        let old = self.policy_in_force();
        let rules = written
            .rules
            .iter()
            .map(|rule| Rule::parse(rule.behavior, &rule.rule, &rule.source, &old.workspace, old.home.as_deref()))
            .collect::<Result<Vec<_>, _>>()?;
        for (rule, written) in rules.iter().zip(&written.rules) {
            example::check(rule, &written.matches, &written.not_matches, &old, &self.workspace)?;
        }
        self.put_policy(Policy { mode: written.mode, rules, ..(*old).clone() });
        Ok(())
    }

    /// Adds one rule.
    pub fn add_rule(&self, behavior: &str, text: &str, source: &str) -> Result<(), RuleError> {
        let behavior: Behavior = serde_json::from_value(json!(behavior)).map_err(|_| {
            RuleError(format!("A rule allows, asks or denies; {behavior:?} is none of allow, ask, deny."))
        })?;
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        let rule = Rule::parse(behavior, text, source, &policy.workspace, policy.home.as_deref())?;
        Arc::make_mut(&mut policy).rules.push(rule);
        Ok(())
    }

    /// The policy in force, as `set_policy` takes it.
    pub fn policy(&self) -> Value {
        let policy = self.policy_in_force();
        let rules = policy
            .rules
            .iter()
            .map(|rule| json!({"behavior": rule.behavior, "rule": rule.text, "source": rule.source}));
        json!({"mode": policy.mode, "rules": rules.collect::<Vec<_>>()})
    }

    /// True where a rule denies all of this tool.
    pub fn denies_tool(&self, name: &str) -> bool {
        self.policy_in_force().denies_tool(name)
    }

    /// Why sandboxed commands may not talk to `host` (`name` or `name:port`); `None`: they may.
    pub fn network_objection(&self, host: &str) -> Result<Option<String>, RuleError> {
        let (host, port) = Host::parse_with_port(host)
            .map_err(|why| RuleError(format!("{:?} is no host: it {why}.", visible(host))))?;
        Ok(self.policy_in_force().hosts().objection(&host, port.unwrap_or(443)))
    }

    pub(super) fn policy_in_force(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}
