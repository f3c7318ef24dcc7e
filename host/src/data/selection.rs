//! Which rows of a data set are used.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
    ser::SerializeSeq,
};
use std::fmt;

/// Row numbers in order, kept as runs of successive ones: memory goes with the gaps and not with the rows. As JSON, a
/// list of numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Of each run, its first place in the selection and the row there.
    runs: Vec<[usize; 2]>,
    len: usize,
}

impl Selection {
    /// Adds a row behind the others.
    pub fn push(&mut self, row: usize) {
        if self.runs.last().is_none_or(|[place, first]| first + (self.len - place) != row) {
            self.runs.push([self.len, row]);
        }
        self.len += 1;
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row at a place. Panics beyond the last.
    pub fn get(&self, place: usize) -> usize {
        assert!(place < self.len, "row {place} of {}", self.len);
        let [start, row] = self.runs[self.runs.partition_point(|[start, _]| *start <= place) - 1];
        row + (place - start)
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.len).map(|place| self.get(place))
    }
}

impl Serialize for Selection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len))?;
        self.iter().try_for_each(|row| list.serialize_element(&row))?;
        list.end()
    }
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl<'de> Visitor<'de> for Numbers {
            type Value = Selection;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of row numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Selection, A::Error> {
                let mut rows = Selection::default();
                while let Some(row) = list.next_element()? {
                    rows.push(row);
                }
                Ok(rows)
            }
        }
        deserializer.deserialize_seq(Numbers)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_the_list_of_its_rows_in_any_order() {
        for list in [vec![], vec![0], vec![7, 8, 9], vec![0, 1, 3, 4, 5, 9], vec![5, 4, 4, 6], (1..300).collect()] {
            let mut rows = Selection::default();
            list.iter().for_each(|row| rows.push(*row));
            assert_eq!(rows.iter().collect::<Vec<_>>(), list);
            assert_eq!((rows.len(), rows.is_empty()), (list.len(), list.is_empty()));
            let text = serde_json::to_string_pretty(&rows).unwrap();
            assert_eq!(text, serde_json::to_string_pretty(&list).unwrap());
            assert_eq!(serde_json::from_str::<Selection>(&text).unwrap(), rows);
        }
        assert!(serde_json::from_str::<Selection>("[1, -2]").is_err());
    }

    #[test]
    fn memory_goes_with_the_gaps() {
        let mut rows = Selection::default();
        (0..10_000).filter(|row| row % 1000 != 7).for_each(|row| rows.push(row));
        assert_eq!(rows.runs.len(), 11);
    }
}
