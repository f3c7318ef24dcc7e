//! Ranks and scales of their own: PEFT's `rank_pattern` and `alpha_pattern`.

use regex::Regex;
use serde_json::Value;

/// Values by the end of a module's name, the first that fits.
#[derive(Debug, Clone)]
pub struct Patterns<T>(Vec<(Regex, T)>);

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(vec![])
    }
}

impl<T: Copy> Patterns<T> {
    /// Reads the value of `key`, which maps patterns to `what`.
    ///
    /// # Errors
    /// What is wrong with it: no map, another value, or an expression that Python knows and we do not, such as one that
    /// looks ahead.
    pub fn read(
        map: Option<&Value>,
        key: &str,
        what: &str,
        value: impl Fn(&Value) -> Option<T>,
    ) -> Result<Self, String> {
        let Some(map) = map else { return Ok(Self::default()) };
        let wrong = || format!("{key} must map regular expressions to {what}");
        let entry = |(pattern, v): (&String, &Value)| {
            // As PEFT's get_pattern_key.
            let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).map_err(|e| {
                let reason = e.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                format!("{key} has the expression {pattern:?}, which is not computed here: {reason}")
            })?;
            Ok((regex, value(v).ok_or_else(wrong)?))
        };
        map.as_object().ok_or_else(wrong)?.iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// That of a module.
    pub fn of(&self, module: &str) -> Option<T> {
        self.0.iter().find(|(pattern, _)| pattern.is_match(module)).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_are_those_of_peft() {
        let map =
            json!({"layers.1.self_attn.q_proj": 2, "v_proj": 3, r"layers\.\d+\.mlp\.(up|down)_proj": 5, "q_proj": 4});
        let patterns = Patterns::read(Some(&map), "rank_pattern", "ranks", Value::as_u64).unwrap();
        for (module, expected) in [
            ("model.layers.1.self_attn.q_proj", Some(2)),
            ("model.layers.0.self_attn.q_proj", Some(4)),
            ("model.layers.11.self_attn.q_proj", Some(4)),
            ("model.layers.7.mlp.down_proj", Some(5)),
            ("model.layers.7.mlp.gate_proj", None),
            ("v_proj", Some(3)),
            ("xv_proj", None),
        ] {
            assert_eq!(patterns.of(module), expected, "{module}");
        }
        let read = |map: Option<Value>| Patterns::read(map.as_ref(), "rank_pattern", "ranks", Value::as_u64);
        let said = read(Some(json!({"(?!down)q_proj": 1}))).unwrap_err();
        let expected = "rank_pattern has the expression \"(?!down)q_proj\", which is not computed here: look-around, \
                        including look-ahead and look-behind, is not supported";
        assert_eq!(said, expected);
        assert_eq!(
            read(Some(json!({"q_proj": "x"}))).unwrap_err(),
            "rank_pattern must map regular expressions to ranks"
        );
        assert_eq!(read(None).unwrap().of("q_proj"), None);
    }
}
