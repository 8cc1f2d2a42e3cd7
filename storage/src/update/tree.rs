//! The changes of one update, arranged by path, so that one walk over a document meets them all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::UpdateError;
use super::change::{Change, Need};
use super::path::Path;

/// A branch: what happens to the fields of a document, or to the elements of an array.
///
/// The root is one too. Invariant: what lies at a path is either a leaf or a branch, never both.
#[derive(Debug, Default)]
pub(super) struct Tree {
    children: BTreeMap<Box<str>, Child>,
    /// Children ever inserted; the next one's order.
    orders: usize,
    /// Length to cut an array to before anything else happens to it.
    truncation: Option<usize>,
    /// The children came from `$[]` or `$[identifier]`; see [`Tree::spread`].
    is_spread: bool,
}

/// One field or element of a branch.
#[derive(Debug)]
pub(super) struct Child {
    /// Place among its siblings in the order of insertion: below [`Tree::orders`], and unique.
    pub(super) order: usize,
    pub(super) node: Node,
}

/// What lies at a path.
#[derive(Debug)]
pub(super) enum Node {
    Leaf(Arc<Change>),
    Branch(Tree),
}

impl Tree {
    /// Adds a change. A path that is already there, or leads through one, is an error.
    pub(super) fn insert(&mut self, path: &Path<'_>, change: Arc<Change>) -> Result<(), UpdateError> {
        let (name, parents) = path.split_last();
        let parent = self.branch(path, parents)?;
        if parent.children.contains_key(name) {
            return Err(conflict(path, path.components()));
        }
        parent.push(name, Node::Leaf(change));
        Ok(())
    }

    /// Cuts the array at `path` to `length` elements.
    pub(super) fn truncate(&mut self, path: &Path<'_>, length: usize) -> Result<(), UpdateError> {
        let array = self.branch(path, path.components())?;
        match array.truncation.replace(length) {
            None => Ok(()),
            Some(_) => Err(conflict(path, path.components())),
        }
    }

    pub(super) fn child(&self, name: &str) -> Option<&Child> {
        self.children.get(name)
    }

    /// The children in no particular order.
    pub(super) fn children(&self) -> impl Iterator<Item = (&str, &Child)> {
        self.children.iter().map(|(name, child)| (&**name, child))
    }

    /// Upper bound of the children's orders.
    pub(super) fn orders(&self) -> usize {
        self.orders
    }

    pub(super) fn truncation(&self) -> Option<usize> {
        self.truncation
    }

    /// The name of a child that needs this to be a document or an array; the first in order.
    ///
    /// A branch without one, only `$unset`, does nothing to a scalar or to nothing at all.
    pub(super) fn first_needed(&self) -> Option<&str> {
        let needed = self.children().filter(|(_, child)| child.node.need() > Need::Nothing);
        needed.min_by_key(|(_, child)| child.order).map(|(name, _)| name)
    }

    /// Marks the array at `components`, if anything happens to it, as one whose elements were named
    /// together. MongoDB then describes the change of several as a change of the array.
    pub(super) fn spread(&mut self, components: &[&str]) {
        let mut tree = self;
        for component in components {
            match tree.children.get_mut(*component).map(|child| &mut child.node) {
                Some(Node::Branch(branch)) => tree = branch,
                _ => return,
            }
        }
        tree.is_spread = true;
    }

    /// Whether the changes below are described together; see [`Tree::spread`].
    pub(super) fn is_spread(&self) -> bool {
        self.is_spread && self.children.len() > 1
    }

    /// The branch at `components`, a prefix of `path`, created if need be.
    fn branch(&mut self, path: &Path<'_>, components: &[&str]) -> Result<&mut Tree, UpdateError> {
        let mut tree = self;
        for (depth, component) in components.iter().enumerate() {
            if !tree.children.contains_key(*component) {
                tree.push(component, Node::Branch(Tree::default()));
            }
            match tree.children.get_mut(*component).map(|child| &mut child.node) {
                Some(Node::Branch(branch)) => tree = branch,
                _ => return Err(conflict(path, &components[..=depth])),
            }
        }
        Ok(tree)
    }

    fn push(&mut self, name: &str, node: Node) {
        self.children.insert(
            name.into(),
            Child {
                order: self.orders,
                node,
            },
        );
        self.orders += 1;
    }
}

impl Node {
    /// What it asks of a place where nothing is.
    pub(super) fn need(&self) -> Need {
        match self {
            Node::Leaf(change) => change.need(),
            Node::Branch(branch) => {
                let needs = branch.children.values().map(|child| child.node.need());
                needs.max().unwrap_or(Need::Nothing)
            }
        }
    }

    /// Whether it removes what is there.
    pub(super) fn is_unset(&self) -> bool {
        matches!(self, Node::Leaf(change) if matches!(**change, Change::Unset))
    }

    /// Whether it creates something where nothing is.
    pub(super) fn creates(&self) -> bool {
        self.need() == Need::Creates
    }
}

fn conflict(path: &Path<'_>, shared: &[&str]) -> UpdateError {
    UpdateError::ConflictingUpdateOperators {
        path: path.to_string(),
        conflict: shared.join("."),
    }
}
