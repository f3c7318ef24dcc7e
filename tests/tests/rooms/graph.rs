//! Circles of imports.

use crate::source::{Place, Tree};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
};

/// Imports among the children of one module: from one to another, and where.
type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<Place>>>;

/// The shortest circles of the tree, each as sentences that name its modules and the lines that make it.
///
/// An import between two modules counts where their paths part, for the children there that they belong to. One between
/// a module and its own parent, or what is inside it, counts nowhere.
pub fn circles(tree: &Tree) -> Vec<String> {
    let mut graphs: BTreeMap<Vec<String>, Graph> = BTreeMap::new();
    for (from, to, place) in tree.imports() {
        let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) {
            let graph = graphs.entry(from[..shared].to_vec()).or_default();
            graph.entry(a.clone()).or_default().entry(b.clone()).or_default().insert(place.clone());
        }
    }
    graphs.iter().flat_map(|(parent, graph)| circles_among(parent, graph)).collect()
}

/// Of circles through the same modules, one.
fn circles_among(parent: &[String], graph: &Graph) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let circles = graph.keys().filter_map(|start| shortest_circle(graph, start));
    let circles = circles.filter(|circle| seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()));
    circles.map(|circle| describe(parent, graph, &circle)).collect()
}

/// The modules of the shortest way from one back to itself, the start first.
fn shortest_circle<'g>(graph: &'g Graph, start: &'g String) -> Option<Vec<&'g String>> {
    let mut came_from: BTreeMap<&String, &String> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for next in graph.get(at).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut circle = vec![at];
                while let Some(before) = circle.last().and_then(|last| came_from.get(last)) {
                    circle.push(before);
                }
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

fn describe(parent: &[String], graph: &Graph, circle: &[&String]) -> String {
    let inside = if parent.is_empty() { "the crate".to_owned() } else { parent.join("::") };
    let mut text = format!("a circle in {inside}:\n");
    for (i, from) in circle.iter().enumerate() {
        let to = circle[(i + 1) % circle.len()];
        let places = &graph[*from][to];
        let shown: Vec<String> = places.iter().take(5).map(Place::to_string).collect();
        let more = if places.len() > shown.len() { ", ..." } else { "" };
        writeln!(text, "  {from} imports {to}: {}{more}", shown.join(", ")).expect("a string takes any text");
    }
    text
}
