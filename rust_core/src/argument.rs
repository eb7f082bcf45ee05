//! Arguments that mean what a tool takes and are written otherwise: under another program's names, a number as text, a list
//! as the JSON of a list. Used where a call does not fit as it is, so that a slip of form costs no request.

use serde_json::{Map, Value};

use crate::catalogue;

/// Deeper schemas and values are left as they are.
const MAX_DEPTH: usize = 8;
/// The tool whose arguments are a result in somebody else's form: nothing in it is touched.
const EXACT: &str = "StructuredOutput";

/// Makes `arguments` of `tool` fit its `schema` where that is sure. True where something changed.
pub fn fit(tool: &str, schema: &Value, arguments: &mut Map<String, Value>) -> bool {
    if tool == EXACT {
        return false;
    }
    let is_renamed = catalogue::rename_arguments(tool, arguments);
    fit_fields(schema, arguments, MAX_DEPTH) | is_renamed
}

fn fit_fields(schema: &Value, fields: &mut Map<String, Value>, depth: usize) -> bool {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return false };
    let mut is_changed = false;
    for (name, value) in fields.iter_mut() {
        if let Some(schema) = properties.get(name) {
            is_changed |= fit_value(schema, value, depth);
        }
    }
    is_changed
}

fn fit_value(schema: &Value, value: &mut Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let fitting = match (kind, &*value) {
        ("integer", Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
        ("integer", Value::Number(number)) => whole(number.as_f64().filter(|_| !number.is_i64() && !number.is_u64())),
        ("number", Value::String(text)) => {
            text.trim().parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from)
        }
        ("boolean", Value::String(text)) => match text.trim() {
            "true" | "True" => Some(Value::Bool(true)),
            "false" | "False" => Some(Value::Bool(false)),
            _ => None,
        },
        ("string", Value::Number(number)) => Some(Value::String(number.to_string())),
        ("array", Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_array),
        ("object", Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_object),
        _ => None,
    };
    let is_changed = fitting.is_some();
    if let Some(fitting) = fitting {
        *value = fitting;
    }
    match (value, schema.get("items")) {
        (Value::Array(items), Some(schema)) => {
            items.iter_mut().fold(is_changed, |is_changed, item| fit_value(schema, item, depth) | is_changed)
        }
        (Value::Object(fields), _) => fit_fields(schema, fields, depth) | is_changed,
        _ => is_changed,
    }
}

/// A number without a fraction that is written with one.
fn whole(number: Option<f64>) -> Option<Value> {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within what doubles hold exactly")]
    number.filter(|number| number.fract() == 0.0 && number.abs() < 9e15).map(|number| Value::from(number as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fitted(schema: &Value, given: Value) -> Value {
        let Value::Object(mut map) = given else { unreachable!() };
        fit("Tool", schema, &mut map);
        Value::Object(map)
    }

    #[test]
    fn slips_of_form_are_mended_and_nothing_else() {
        let schema = json!({"properties": {
            "count": {"type": "integer"}, "share": {"type": "number"}, "is": {"type": "boolean"},
            "text": {"type": "string"}, "list": {"type": "array", "items": {"type": "object", "properties": {
                "n": {"type": "integer"}}}},
        }});
        let given =
            json!({"count": "12", "share": " 0.5", "is": "true", "text": 3, "list": "[{\"n\": 2.0}]", "other": "1"});
        let wanted = json!({"count": 12, "share": 0.5, "is": true, "text": "3", "list": [{"n": 2}], "other": "1"});
        assert_eq!(fitted(&schema, given), wanted);
        let as_it_is =
            json!({"count": "1.5", "share": "NaN", "is": "yes", "text": {"a": 1}, "list": "[", "other": null});
        assert_eq!(fitted(&schema, as_it_is.clone()), as_it_is);
        assert_eq!(fitted(&schema, json!({"count": 1.5})), json!({"count": 1.5}));
        assert_eq!(fitted(&schema, json!({"count": 1e30})), json!({"count": 1e30}));
    }

    #[test]
    fn a_result_is_left_as_it_is() {
        let schema = json!({"properties": {"n": {"type": "integer"}}});
        let Value::Object(mut map) = json!({"n": "1"}) else { unreachable!() };
        assert!(!fit(EXACT, &schema, &mut map));
        assert_eq!(map["n"], "1");
    }

    #[test]
    fn depth_is_bounded() {
        let mut schema = json!({"type": "integer"});
        let mut value = json!("1");
        for _ in 0..100 {
            schema = json!({"type": "array", "items": schema});
            value = json!([value]);
        }
        let before = value.clone();
        assert_eq!(fitted(&json!({"properties": {"a": schema}}), json!({"a": value}))["a"], before);
    }
}
