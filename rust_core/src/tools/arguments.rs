//! From the type of a tool's arguments to the schema a model gets, and from a call's JSON to the arguments.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Reads the arguments of a call; the error names the field and what is accepted there.
pub fn parse_arguments<T: DeserializeOwned>(tool: &str, arguments: &str) -> Result<T, String> {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let mut deserializer = serde_json::Deserializer::from_str(arguments);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        let what = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        let what = in_words(what);
        let field =
            if path == "." || what.contains(&format!("`{path}`")) { String::new() } else { format!("{path}: ") };
        format!("{tool} was not run: {field}{what}. Correct the arguments and call it again.")
    })?;
    deserializer.end().map_err(|_| {
        format!("{tool} was not run: its arguments are more than one JSON object. Call it again with one.")
    })?;
    Ok(parsed)
}

/// What is expected, without names of Rust's types.
fn in_words(what: &str) -> String {
    let Some((found, expected)) = what.rsplit_once("expected ") else { return what.to_owned() };
    let expected = match expected {
        "u64" | "u32" | "usize" => "a whole number from 0",
        "i64" | "i32" => "a whole number",
        "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        other => other,
    };
    format!("{found}expected {expected}")
        .replace("floating point", "number")
        .replace("sequence", "list")
        .replace("map", "object")
}

/// The schema of `T` without what a model has no use for.
pub fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(object) = schema.as_object_mut() {
        object.shift_remove("description"); // the tool has its own
    }
    simplify(&mut schema);
    schema
}

fn simplify(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    for noise in ["$schema", "title", "format", "default"] {
        if object.get(noise).is_some_and(|value| !value.is_object() || noise == "default") {
            object.shift_remove(noise);
        }
    }
    // An optional argument is left out, not sent as null.
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.shift_remove("anyOf");
            object.extend(only);
        }
    }
    // Variants with descriptions come as a list of constants; the names say enough.
    if let Some(Value::Array(choices)) = object.get("oneOf") {
        let constants: Vec<Value> = choices.iter().filter_map(|choice| choice.get("const").cloned()).collect();
        if constants.len() == choices.len() {
            object.shift_remove("oneOf");
            object.insert("type".into(), json!("string"));
            object.insert("enum".into(), constants.into());
        }
    }
    for key in ["properties", "items"] {
        match object.get_mut(key) {
            Some(Value::Object(fields)) if key == "properties" => fields.values_mut().for_each(simplify),
            Some(inner) => simplify(inner),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TOOLS, find};

    #[test]
    fn schemas_are_small_and_closed() {
        for tool in TOOLS {
            let schema = tool.schema();
            assert_eq!(schema["type"], "object", "{}", tool.name());
            assert_eq!(schema["additionalProperties"], false, "{}", tool.name());
            let text = schema.to_string();
            assert!(text.len() < 1500, "{}", tool.name());
            assert!(!text.contains("$schema") && !text.contains("\"title\"") && !text.contains("null"), "{text}");
        }
    }

    #[test]
    fn argument_errors_name_the_field() {
        let error = |arguments: &str| find("Bash").unwrap().parse(arguments).err().unwrap();
        assert!(error("{}").contains("missing field `command`"));
        assert!(error(r#"{"command": 1}"#).contains("command: invalid type: integer `1`, expected a string"));
        assert!(
            error(r#"{"command": "x", "timeout": -1}"#)
                .contains("timeout: invalid value: integer `-1`, expected a whole number from 0.")
        );
        assert!(error(r#"{"command": "x", "foo": 1}"#).contains("unknown field `foo`, expected one of `command`"));
        assert!(error("{").contains("EOF"));
        assert!(error(r#"{"command":"x"} {}"#).contains("more than one"));
    }
}
