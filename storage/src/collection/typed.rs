//! Collections of a program's own type.

use std::any::type_name;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use bson::{Bson, RawDocument, RawDocumentBuf};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    Collection, FindOneAndDeleteOptions, FindOneAndReplaceOptions, FindOneAndUpdateOptions, FindOptions,
    InsertManyOptions, InsertOutcome, ReplaceOptions, UpdateModifications, WriteOutcome,
};
use crate::error::{Error, Result};
use crate::query::Documents;

/// A collection whose documents are values of `T`. It is a [`Collection`], of which it has every method; those that take or
/// return documents take and return `T`. Filters and updates stay documents. Cheap to clone.
///
/// A value that becomes a document without `_id` gets an ObjectId; a type that is to have it back has a field for it.
///
/// ```
/// use bson::rawdoc;
/// use serde::{Deserialize, Serialize};
/// use tailwater_storage::Store;
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Person {
///     #[serde(rename = "_id")]
///     id: i32,
///     name: String,
/// }
///
/// # fn main() -> Result<(), tailwater_storage::Error> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Store::open(dir.path())?;
/// let people = store.collection("town", "people")?.typed::<Person>();
/// let ada = Person { id: 1, name: "Ada".into() };
/// people.insert_one(&ada)?;
/// assert_eq!(people.find_one(&rawdoc! { "name": "Ada" })?, Some(ada));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TypedCollection<T> {
    raw: Collection,
    marker: PhantomData<fn(T) -> T>,
}

impl<T> Clone for TypedCollection<T> {
    fn clone(&self) -> TypedCollection<T> {
        TypedCollection {
            raw: self.raw.clone(),
            marker: PhantomData,
        }
    }
}

impl<T> Deref for TypedCollection<T> {
    type Target = Collection;

    fn deref(&self) -> &Collection {
        &self.raw
    }
}

impl Collection {
    /// The same collection, with documents as values of `T`. What is stored is not looked at.
    #[must_use]
    pub fn typed<T>(&self) -> TypedCollection<T> {
        TypedCollection {
            raw: self.clone(),
            marker: PhantomData,
        }
    }
}

impl<T> TypedCollection<T> {
    /// The collection with documents as they are stored.
    #[must_use]
    pub fn raw(&self) -> &Collection {
        &self.raw
    }
}

impl<T: Serialize> TypedCollection<T> {
    /// As [`Collection::insert_one`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Serialize`].
    pub fn insert_one(&self, value: &T) -> Result<InsertOutcome> {
        self.raw.insert_one(&to_document(value)?)
    }

    /// As [`Collection::insert_many`]. Nothing is inserted unless all values become documents.
    ///
    /// # Errors
    ///
    /// As there; [`Error::Serialize`].
    pub fn insert_many<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<InsertOutcome>
    where
        T: 'a,
    {
        self.insert_many_with(values, &InsertManyOptions::default())
    }

    /// As [`Collection::insert_many_with`]. Nothing is inserted unless all values become documents.
    ///
    /// # Errors
    ///
    /// As there; [`Error::Serialize`].
    pub fn insert_many_with<'a>(
        &self,
        values: impl IntoIterator<Item = &'a T>,
        options: &InsertManyOptions,
    ) -> Result<InsertOutcome>
    where
        T: 'a,
    {
        let documents = values.into_iter().map(to_document).collect::<Result<Vec<_>>>()?;
        self.raw.insert_many_with(documents.iter().map(AsRef::as_ref), options)
    }

    /// As [`Collection::replace_one`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Serialize`].
    pub fn replace_one(&self, filter: &RawDocument, replacement: &T) -> Result<WriteOutcome> {
        self.replace_one_with(filter, replacement, &ReplaceOptions::default())
    }

    /// As [`Collection::replace_one_with`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Serialize`].
    pub fn replace_one_with(
        &self,
        filter: &RawDocument,
        replacement: &T,
        options: &ReplaceOptions,
    ) -> Result<WriteOutcome> {
        self.raw.replace_one_with(filter, &to_document(replacement)?, options)
    }
}

impl<T: DeserializeOwned> TypedCollection<T> {
    /// As [`Collection::find`].
    ///
    /// # Errors
    ///
    /// As there; of the items [`Error::Deserialize`], too, after which there may be more.
    pub fn find(&self, filter: &RawDocument) -> Result<TypedDocuments<T>> {
        self.find_with(filter, &FindOptions::default())
    }

    /// As [`Collection::find_with`].
    ///
    /// # Errors
    ///
    /// As [`TypedCollection::find`] and there.
    pub fn find_with(&self, filter: &RawDocument, options: &FindOptions) -> Result<TypedDocuments<T>> {
        Ok(TypedDocuments {
            documents: self.raw.find_with(filter, options)?,
            marker: PhantomData,
        })
    }

    /// As [`Collection::find_one`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Deserialize`].
    pub fn find_one(&self, filter: &RawDocument) -> Result<Option<T>> {
        from_found(self.raw.find_one(filter)?.as_deref())
    }

    /// As [`Collection::find_one_with`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Deserialize`].
    pub fn find_one_with(&self, filter: &RawDocument, options: &FindOptions) -> Result<Option<T>> {
        from_found(self.raw.find_one_with(filter, options)?.as_deref())
    }

    /// As [`Collection::find_one_and_update`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Deserialize`], when the document has been changed.
    pub fn find_one_and_update(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
    ) -> Result<Option<T>> {
        from_found(self.raw.find_one_and_update(filter, update)?.as_deref())
    }

    /// As [`Collection::find_one_and_update_with`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Deserialize`], when the document has been changed.
    pub fn find_one_and_update_with(
        &self,
        filter: &RawDocument,
        update: impl Into<UpdateModifications>,
        options: &FindOneAndUpdateOptions,
    ) -> Result<Option<T>> {
        from_found(self.raw.find_one_and_update_with(filter, update, options)?.as_deref())
    }

    /// As [`Collection::find_one_and_delete`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Deserialize`], when the document has been deleted.
    pub fn find_one_and_delete(&self, filter: &RawDocument) -> Result<Option<T>> {
        self.find_one_and_delete_with(filter, &FindOneAndDeleteOptions::default())
    }

    /// As [`Collection::find_one_and_delete_with`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Deserialize`], when the document has been deleted.
    pub fn find_one_and_delete_with(
        &self,
        filter: &RawDocument,
        options: &FindOneAndDeleteOptions,
    ) -> Result<Option<T>> {
        from_found(self.raw.find_one_and_delete_with(filter, options)?.as_deref())
    }
}

impl<T: Serialize + DeserializeOwned> TypedCollection<T> {
    /// As [`Collection::find_one_and_replace`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Serialize`]; [`Error::Deserialize`], when the document has been replaced.
    pub fn find_one_and_replace(&self, filter: &RawDocument, replacement: &T) -> Result<Option<T>> {
        self.find_one_and_replace_with(filter, replacement, &FindOneAndReplaceOptions::default())
    }

    /// As [`Collection::find_one_and_replace_with`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Serialize`]; [`Error::Deserialize`], when the document has been replaced.
    pub fn find_one_and_replace_with(
        &self,
        filter: &RawDocument,
        replacement: &T,
        options: &FindOneAndReplaceOptions,
    ) -> Result<Option<T>> {
        let replacement = to_document(replacement)?;
        from_found(
            self.raw
                .find_one_and_replace_with(filter, &replacement, options)?
                .as_deref(),
        )
    }
}

/// Documents as values of `T`. See [`TypedCollection::find`].
#[derive(Debug)]
pub struct TypedDocuments<T> {
    documents: Documents,
    marker: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for TypedDocuments<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        Some(self.documents.next()?.and_then(|document| from_document(&document)))
    }
}

fn to_document<T: Serialize>(value: &T) -> Result<RawDocumentBuf> {
    bson::serialize_to_raw_document_buf(value).map_err(|source| Error::Serialize {
        type_name: type_name::<T>(),
        source: Arc::new(source),
    })
}

fn from_document<T: DeserializeOwned>(document: &RawDocument) -> Result<T> {
    bson::deserialize_from_slice(document.as_bytes()).map_err(|source| Error::Deserialize {
        type_name: type_name::<T>(),
        id: Box::new(id_of(document)),
        source: Arc::new(source),
    })
}

fn from_found<T: DeserializeOwned>(found: Option<&RawDocument>) -> Result<Option<T>> {
    found.map(from_document).transpose()
}

fn id_of(document: &RawDocument) -> Bson {
    let id = document.get("_id").ok().flatten();
    id.and_then(|id| Bson::try_from(id).ok()).unwrap_or(Bson::Null)
}
