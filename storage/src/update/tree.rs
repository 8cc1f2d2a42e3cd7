//! The changes of one update, arranged by path, so that one walk over a document meets them all.

use std::collections::BTreeMap;

use super::UpdateError;
use super::element::Value;
use super::number::Number;
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
    Leaf(Change),
    Branch(Tree),
}

/// What happens to one value.
#[derive(Debug)]
pub(super) enum Change {
    /// Give it this value, where it is, or at the end if it is new.
    Set(Value),
    Increment(Number),
    Unset,
}

impl Tree {
    /// Adds a change. A path that is already there, or leads through one, is an error.
    pub(super) fn insert(&mut self, path: &Path<'_>, change: Change) -> Result<(), UpdateError> {
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
    /// A branch without one, only removals, does nothing to a scalar or to nothing at all.
    pub(super) fn first_needed(&self) -> Option<&str> {
        let needed = self.children().filter(|(_, child)| child.node.is_needed());
        needed.min_by_key(|(_, child)| child.order).map(|(name, _)| name)
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
    /// Whether it changes something where nothing was.
    pub(super) fn is_needed(&self) -> bool {
        match self {
            Node::Leaf(Change::Unset) => false,
            Node::Leaf(_) => true,
            Node::Branch(branch) => branch.first_needed().is_some(),
        }
    }
}

fn conflict(path: &Path<'_>, shared: &[&str]) -> UpdateError {
    UpdateError::ConflictingUpdateOperators {
        path: path.to_string(),
        conflict: shared.join("."),
    }
}
