//! A table whose rows are known: each value follows from the number of its row.

use std::sync::Arc;

use datafusion::arrow::array::{Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::cast::{as_int64_array, as_string_array};
use datafusion::error::{DataFusionError, Result};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;

/// Length of a value in the column `pad`.
const PAD: usize = 2000;

/// The size of a table.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Number of the first row.
    pub first: i64,
    /// Number of rows.
    pub rows: usize,
    /// Number of rows in a row group.
    pub group: usize,
}

/// Rows with the columns `id`, `pad` and `value`, and one of many versions of their values. Tables that differ only in
/// their version have files of the same length, with the same offsets. A query that mixes the bytes of two such files
/// finds nothing odd in them.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// The size.
    pub layout: Layout,
    /// The version of the values.
    pub version: i64,
}

impl Table {
    /// The value in row `id` of a version.
    #[must_use]
    pub fn value(id: i64, version: i64) -> i64 {
        mix(id.wrapping_mul(0x1_0000).wrapping_add(version))
    }

    /// The text in row `id` of a version. It cannot be compressed well.
    #[must_use]
    pub fn pad(id: i64, version: i64) -> String {
        let mut text = String::with_capacity(PAD + 16);
        let mut state = Self::value(id, version);
        while text.len() < PAD {
            state = mix(state);
            text.push_str(&format!("{:016x}", state.cast_unsigned()));
        }
        text.truncate(PAD);
        text
    }

    /// The columns.
    #[must_use]
    pub fn schema() -> SchemaRef {
        let field = |name: &str, of| Field::new(name, of, false);
        Arc::new(Schema::new(vec![
            field("id", DataType::Int64),
            field("pad", DataType::Utf8),
            field("value", DataType::Int64),
        ]))
    }

    /// All rows.
    ///
    /// # Errors
    /// None that is expected.
    pub fn batch(&self) -> Result<RecordBatch> {
        let ids = || self.layout.first..self.layout.first + i64::try_from(self.layout.rows).unwrap_or(i64::MAX);
        let columns: Vec<Arc<dyn Array>> = vec![
            Arc::new(Int64Array::from_iter_values(ids())),
            Arc::new(StringArray::from_iter_values(ids().map(|id| Self::pad(id, self.version)))),
            Arc::new(Int64Array::from_iter_values(ids().map(|id| Self::value(id, self.version)))),
        ];
        Ok(RecordBatch::try_new(Self::schema(), columns)?)
    }

    /// A Parquet file with all rows.
    ///
    /// # Errors
    /// None that is expected.
    pub fn parquet(&self) -> Result<Vec<u8>> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_dictionary_enabled(false)
            .set_max_row_group_row_count(Some(self.layout.group))
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), Self::schema(), Some(properties))?;
        writer.write(&self.batch()?)?;
        Ok(writer.into_inner()?)
    }

    /// The version of the rows in `batch`, which has the columns `id`, `pad` and `value`.
    ///
    /// # Errors
    /// If a row is none of this table, or if two rows have different versions.
    pub fn version_of(layout: Layout, batch: &RecordBatch) -> Result<Option<i64>> {
        let wrong = |what: String| Err(DataFusionError::Execution(what));
        let ids = as_int64_array(batch.column(0))?;
        let pads = as_string_array(batch.column(1))?;
        let values = as_int64_array(batch.column(2))?;
        let mut found = None;
        for row in 0..batch.num_rows() {
            let (id, value) = (ids.value(row), values.value(row));
            let Some(version) = (0..4).find(|version| Self::value(id, *version) == value) else {
                return wrong(format!("row {id} has a wrong value"));
            };
            if pads.value(row) != Self::pad(id, version) || *found.get_or_insert(version) != version {
                return wrong(format!("row {id} is mixed from several versions"));
            }
            let end = layout.first + i64::try_from(layout.rows).unwrap_or(i64::MAX);
            if !(layout.first..end).contains(&id) {
                return wrong(format!("row {id} is no row of the table"));
            }
        }
        Ok(found)
    }
}

/// A permutation of 64 bits (the finalizer of SplitMix64).
fn mix(value: i64) -> i64 {
    let mut bits = value.cast_unsigned().wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (bits ^ (bits >> 31)).cast_signed()
}
