//! One object in full form, as it stands in a watch's event or is an answer by itself.
//!
//! Receives its bytes, a Table's too; promises what becomes of it, what it is called, and which version it has. What cannot be
//! read is a [`FilterError`].

use super::FilterError;
use super::chain::{Chain, Shape};
use super::item::{Item, name};
use crate::kube::list::Encoding;
use crate::kube::message::{self, Edit};
use crate::kube::object;
use crate::kube::schema::table;

/// A Table with nothing but cells in its rows.
pub(super) fn without_objects(encoding: Encoding, full: &[u8]) -> Result<Vec<u8>, FilterError> {
    let (types, item) = object::whole_into_item(encoding, full)?;
    let bare = message::edit(encoding, &item, table::ROWS, |row| {
        let row = message::edit(encoding, row, table::OBJECT, |_| Ok::<_, FilterError>(Edit::Replace(b"null".to_vec())))?;
        Ok::<_, FilterError>(row.map_or(Edit::Keep, Edit::Replace))
    })?;
    Ok(bare.map_or_else(|| full.to_vec(), |item| object::back_to_full(encoding, &types, item, full)))
}

/// Namespace and name of an object in full form; of a Table those of its first row.
pub(super) fn identity(encoding: Encoding, full: &[u8]) -> Result<(String, String), FilterError> {
    let bytes = object::sent_item(encoding, full)?;
    if Shape::of_object(&object::type_of(encoding, full)?) != Shape::Row {
        return name(&Item { encoding, bytes });
    }
    name_in_row(encoding, message::part(encoding, bytes, table::ROWS)?.unwrap_or_default())
}

/// Namespace and name of an item in a list of this kind.
pub(super) fn name_in_list(encoding: Encoding, kind: &str, item: &[u8]) -> Result<(String, String), FilterError> {
    if Shape::of(kind) == Shape::Row { name_in_row(encoding, item) } else { name(&Item { encoding, bytes: item }) }
}

fn name_in_row(encoding: Encoding, row: &[u8]) -> Result<(String, String), FilterError> {
    let object = message::part(encoding, row, table::OBJECT)?.unwrap_or_default();
    name(&Item { encoding, bytes: object })
}

/// What becomes of an object in full form, a Table with its rows included.
pub(in crate::request) fn edit(chain: &Chain, encoding: Encoding, full: &[u8]) -> Result<Edit, FilterError> {
    match object::check(encoding, full) {
        Ok(()) => edit_whole(chain, encoding, full),
        Err(error) => chain.or_keep(Err(error.into())),
    }
}

/// The same for an object that is known to be whole.
pub(super) fn edit_whole(chain: &Chain, encoding: Encoding, full: &[u8]) -> Result<Edit, FilterError> {
    chain.or_keep(judged(chain, encoding, full))
}

fn judged(chain: &Chain, encoding: Encoding, full: &[u8]) -> Result<Edit, FilterError> {
    let (types, item) = object::whole_into_item(encoding, full)?;
    let edited = match Shape::of_object(&types) {
        Shape::Row => {
            let (mut rows, mut hidden) = (0, 0);
            let edited = message::edit(encoding, &item, table::ROWS, |row| {
                let edit = chain.shaped(encoding, Shape::Row, row)?;
                rows += 1;
                hidden += usize::from(edit == Edit::Remove);
                Ok::<_, FilterError>(edit)
            })?;
            if rows > 0 && hidden == rows { Edit::Remove } else { edited.map_or(Edit::Keep, Edit::Replace) }
        }
        presentation => chain.shaped(encoding, presentation, &item)?,
    };
    Ok(match edited {
        Edit::Replace(item) => {
            let mut rewritten = object::back_to_full(encoding, &types, item, full);
            if full.ends_with(b"\n") && encoding == Encoding::Json {
                rewritten.push(b'\n');
            }
            Edit::Replace(rewritten)
        }
        other => other,
    })
}
