//! Parts of the entries, for members that are filtered: as `tailwater_storage::Sharing` decides it, by namespaces alone.

/// Namespaces that documents are in.
const NAMESPACES: u64 = 4;

/// What a log has of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// All of it: a document of the namespace that the number is of, which was in another one before, or in the same. Zero is what
    /// terms begin with, and of no namespace.
    Whole(u64),
    /// That the document is of the part no more.
    Left(u64),
    /// Its place.
    Place,
}

/// The namespaces that a filtered member has, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part(pub(crate) u8);

impl Part {
    /// As it travels in an introduction.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        vec![self.0]
    }

    fn has(self, namespace: u64) -> bool {
        self.0 & (1 << (namespace % NAMESPACES)) != 0
    }
}

/// Whether who wants `wanted`, all if nothing, can have it from a member with `own`.
pub(crate) fn is_within(wanted: Option<Part>, own: Option<Part>) -> bool {
    match (wanted, own) {
        (_, None) => true,
        (Some(wanted), Some(own)) => wanted.0 & !own.0 == 0,
        (None, Some(_)) => false,
    }
}

/// What a member with `part` has of what another one has, which has as much at least.
pub(crate) fn share(part: Option<Part>, content: Content) -> Content {
    let (Some(part), Content::Whole(value) | Content::Left(value)) = (part, content) else {
        return content;
    };
    match content {
        Content::Whole(0) => content,
        Content::Whole(_) if part.has(value) => content,
        _ if part.has(value / NAMESPACES) => Content::Left(value),
        _ => Content::Place,
    }
}
