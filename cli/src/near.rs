// SPDX-License-Identifier: Apache-2.0
//! Near misses: a selector that would select if one word were spelled otherwise.

use gateherald_model::{
    metadata::LabelMap,
    selector::{LabelSelector, Labels, NAME_LABEL, NAMESPACE_LABEL, Selector},
};

/// Two words that are not this close are two words.
const CLOSE: usize = 2;

/// The one requirement that does not hold, and what comes close to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Miss {
    /// Below the selector's field: `matchLabels[mdhlabs-arp]`.
    pub(crate) field: String,
    /// The key that is asked for.
    pub(crate) key: String,
    /// The value that is asked for.
    pub(crate) wanted: String,
    /// The key that is there, if it is spelled otherwise.
    pub(crate) found_key: String,
    /// The value that is there.
    pub(crate) found: String,
}

impl Miss {
    /// What is asked for and what is there.
    pub(crate) fn says(&self) -> String {
        format!("it asks for {}={}, and there is {}={}", self.key, self.wanted, self.found_key, self.found)
    }
}

/// The near miss of a selector, if all of its requirements but one hold and that one almost does.
pub(crate) fn miss(selector: &LabelSelector, labels: &impl Labels, all: &LabelMap) -> Option<Miss> {
    let mut failing = requirements(selector).into_iter().filter(|requirement| {
        !Selector::compile(Some(&requirement.alone)).is_ok_and(|selector| selector.matches(labels))
    });
    let (first, second) = (failing.next()?, failing.next());
    if second.is_some() {
        return None;
    }
    let values = first.wanted.clone();
    let near_value = labels.label(&first.key).and_then(|found| {
        let wanted = values.iter().find(|wanted| is_close(wanted, found))?;
        Some((wanted.clone(), first.key.clone(), found.to_owned()))
    });
    let near_key = || {
        all.iter().find_map(|(key, found)| {
            let wanted = values.iter().find(|wanted| *wanted == found)?;
            (*key != first.key && is_close(key, &first.key))
                .then(|| (wanted.clone(), key.clone(), found.clone()))
        })
    };
    let (wanted, found_key, found) = near_value.or_else(near_key)?;
    Some(Miss { field: first.field, key: first.key, wanted, found_key, found })
}

/// The requirements that labels do not meet, in words: `mdhlabs-arp=enable`.
pub(crate) fn unmet(selector: &LabelSelector, labels: &impl Labels) -> Vec<String> {
    let failing = requirements(selector).into_iter().filter(|requirement| {
        !Selector::compile(Some(&requirement.alone)).is_ok_and(|selector| selector.matches(labels))
    });
    failing.map(|requirement| requirement.text).collect()
}

/// The keys that a selector looks at, without those that stand for namespace and name.
pub(crate) fn keys(selector: &LabelSelector) -> impl Iterator<Item = &str> {
    let expressions = selector.match_expressions.iter().map(|requirement| requirement.key.as_str());
    let keys = selector.match_labels.keys().map(String::as_str).chain(expressions);
    keys.filter(|key| ![NAME_LABEL, NAMESPACE_LABEL].contains(key))
}

/// A selector in words, as kubectl writes it.
pub(crate) fn words(selector: Option<&LabelSelector>) -> String {
    let words: Vec<String> = selector
        .map(requirements)
        .unwrap_or_default()
        .into_iter()
        .map(|requirement| requirement.text)
        .collect();
    if words.is_empty() { "everything".to_owned() } else { words.join(",") }
}

struct Requirement {
    field: String,
    key: String,
    /// The values that would do; none for operators without.
    wanted: Vec<String>,
    text: String,
    alone: LabelSelector,
}

fn requirements(selector: &LabelSelector) -> Vec<Requirement> {
    let labels = selector.match_labels.iter().map(|(key, value)| Requirement {
        field: format!("matchLabels[{key}]"),
        key: key.clone(),
        wanted: vec![value.clone()],
        text: format!("{key}={value}"),
        alone: LabelSelector {
            match_labels: [(key.clone(), value.clone())].into(),
            match_expressions: Vec::new(),
        },
    });
    let expressions = selector.match_expressions.iter().enumerate().map(|(number, expression)| Requirement {
        field: format!("matchExpressions[{number}]"),
        key: expression.key.clone(),
        wanted: if expression.operator == "In" { expression.values.clone() } else { Vec::new() },
        text: match expression.operator.as_str() {
            "Exists" => expression.key.clone(),
            "DoesNotExist" => format!("!{}", expression.key),
            "In" => format!("{} in ({})", expression.key, expression.values.join(",")),
            "NotIn" => format!("{} notin ({})", expression.key, expression.values.join(",")),
            other => format!("{} {other} ({})", expression.key, expression.values.join(",")),
        },
        alone: LabelSelector { match_labels: LabelMap::new(), match_expressions: vec![expression.clone()] },
    });
    labels.chain(expressions).collect()
}

/// Whether two different words are likely the same one, misspelt. Short words differ by one letter without being akin.
pub(crate) fn is_close(a: &str, b: &str) -> bool {
    if a == b {
        return false;
    }
    let distance = strsim::damerau_levenshtein(&a.to_lowercase(), &b.to_lowercase());
    let shorter = a.chars().count().min(b.chars().count());
    distance <= CLOSE && distance * 3 <= shorter
}

#[cfg(test)]
mod tests;
