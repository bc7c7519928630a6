#include "snapshot/heap_sample.hpp"

#include <new>

#include "core/heap_packing.hpp"
#include "pg/damage.hpp"

extern "C" {
#include "access/detoast.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/tupdesc_details.h"
#include "utils/rel.h"
}

namespace train_perf {

namespace {

// Bytes of pages in TOAST that a tuple refers to.
struct ToastBytes {
  uint64 kept;
  uint64 dropped;  // by columns that are no more
};

bool HasDroppedColumns(TupleDesc columns) {
  for (int i = 0; i < columns->natts; ++i)
    if (TupleDescAttr(columns, i)->attisdropped) return true;
  return false;
}

// 0 if it is no value in TOAST.
Size ExternalSize(const char* value, const char* end) {
  if (value + VARHDRSZ_EXTERNAL > end || VARTAG_EXTERNAL(value) != VARTAG_ONDISK) return 0;
  return VARSIZE_EXTERNAL(value);
}

// The length of a column's value, which must lie within the tuple.
Size ValueSize(Form_pg_attribute column, const char* value, const char* end) {
  Size size = 0;
  if (value < end) {
    if (column->attlen > 0) {
      size = static_cast<Size>(column->attlen);
    } else if (column->attlen == -2) {
      size = strnlen(value, static_cast<Size>(end - value)) + 1;
    } else if (VARATT_IS_1B(value) || value + VARHDRSZ <= end) {
      size = VARATT_IS_EXTERNAL(value) ? ExternalSize(value, end) : VARSIZE_ANY(value);
    }
  }
  if (size == 0 || size > static_cast<Size>(end - value))
    RaiseDamage(ERRCODE_DATA_CORRUPTED, "a value exceeds its tuple");
  return size;
}

// Where a rewrite puts the next value.
Size Place(Size offset, Form_pg_attribute column, const char* value, Size size) {
  const bool packed = column->attlen == -1 && VARATT_IS_1B(value);
  return (packed ? offset : att_align_nominal(offset, column->attalign)) + size;
}

// The value of a column that was added with a default, in rows of before.
bool HasMissing(TupleDesc columns, int i) {
  return columns->constr != nullptr && columns->constr->missing != nullptr &&
         columns->constr->missing[i].am_present;
}

Size PlaceMissing(Size offset, Form_pg_attribute column, Datum value) {
  if (column->attlen > 0) return att_align_nominal(offset, column->attalign) + column->attlen;
  const char* bytes = DatumGetPointer(value);
  if (column->attlen == -2) return offset + strlen(bytes) + 1;
  if (column->attstorage != TYPSTORAGE_PLAIN && VARATT_CAN_MAKE_SHORT(bytes))
    return offset + VARATT_CONVERTED_SHORT_SIZE(bytes);
  return Place(offset, column, bytes, VARSIZE_ANY(bytes));
}

// In chunks, of which EXTERN_TUPLES_PER_PAGE fill a page; the rest is one of its own.
uint64 RoomInToast(uint64 bytes) {
  constexpr uint64 kOverhead =
      MAXALIGN(SizeofHeapTupleHeader) + sizeof(Oid) + sizeof(int32) + VARHDRSZ;
  const uint64 rest = bytes % TOAST_MAX_CHUNK_SIZE;
  return bytes / TOAST_MAX_CHUNK_SIZE * ((BLCKSZ - SizeOfPageHeaderData) / EXTERN_TUPLES_PER_PAGE) +
         (rest > 0 ? MAXALIGN(kOverhead + rest) + sizeof(ItemIdData) : 0);
}

void CountToast(const char* value, bool dropped, ToastBytes* toast) {
  if (!VARATT_IS_EXTERNAL_ONDISK(value)) return;
  varatt_external pointer;
  VARATT_EXTERNAL_GET_POINTER(pointer, value);
  const uint64 bytes = RoomInToast(VARATT_EXTERNAL_GET_EXTSIZE(pointer));
  (dropped ? toast->dropped : toast->kept) += bytes;
}

// The size of a tuple when it is formed anew: without dropped columns, with the columns that were
// added after it.
uint32 SizeFormedAnew(TupleDesc columns, HeapTupleHeader tuple, Size length, ToastBytes* toast) {
  const int stored = HeapTupleHeaderGetNatts(tuple);
  const char* start = reinterpret_cast<const char*>(tuple);
  const char* end = start + length;
  const char* data = start + tuple->t_hoff;
  Size from = 0;
  Size size = 0;
  bool has_nulls = false;
  for (int i = 0; i < columns->natts; ++i) {
    Form_pg_attribute column = TupleDescAttr(columns, i);
    if (i >= stored && HasMissing(columns, i)) {
      size = PlaceMissing(size, column, columns->constr->missing[i].am_value);
      continue;
    }
    if (i >= stored || ((tuple->t_infomask & HEAP_HASNULL) != 0 && att_isnull(i, tuple->t_bits))) {
      has_nulls = true;
      continue;
    }
    if (data + from >= end) RaiseDamage(ERRCODE_DATA_CORRUPTED, "a value begins behind its tuple");
    from = att_align_pointer(from, column->attalign, column->attlen, data + from);
    const char* value = data + from;
    const Size bytes = ValueSize(column, value, end);
    from += bytes;
    if (column->attlen == -1) CountToast(value, column->attisdropped, toast);
    has_nulls = has_nulls || column->attisdropped;
    if (!column->attisdropped) size = Place(size, column, value, bytes);
  }
  const Size header = SizeofHeapTupleHeader + (has_nulls ? BITMAPLEN(columns->natts) : 0);
  return static_cast<uint32>(MAXALIGN(header) + size);
}

class HeapReader final : public PageReader {
 public:
  // `known` may be null.
  HeapReader(Relation relation, LiveRows* known)
      : relation_(relation),
        known_(known),
        columns_(RelationGetDescr(relation)),
        horizon_(GetOldestNonRemovableTransactionId(relation)),
        reforms_(HasDroppedColumns(columns_)),
        packing_(
            {BLCKSZ - SizeOfPageHeaderData,
             static_cast<uint32>(RelationGetTargetPageFreeSpace(relation, HEAP_DEFAULT_FILLFACTOR)),
             MaxHeapTuplesPerPage}) {}

  void Read(Buffer buffer, Page page, BlockNumber block) override {
    OnPage now = {};
    now.roots.block = block;
    const OffsetNumber last = PageGetMaxOffsetNumber(page);
    if (last > MaxHeapTuplesPerPage) RaiseDamage(ERRCODE_DATA_CORRUPTED, "too many line pointers");
    for (OffsetNumber number = FirstOffsetNumber; number <= last; ++number) {
      const ItemId item = PageGetItemId(page, number);
      if (ItemIdIsDead(item)) {
        ++now.dead;
        now.is_root[number] = true;
      } else if (ItemIdIsRedirected(item)) {
        now.is_root[number] = true;
        now.next[number] = ItemIdGetRedirect(item);
      } else if (ItemIdIsNormal(item)) {
        ReadTuple(buffer, page, number, block, &now);
      }
    }
    for (OffsetNumber number = FirstOffsetNumber; number <= last; ++number)
      if (now.is_root[number]) JudgeRoot(number, last, &now);
    Note(now);
  }

  HeapEstimate Result(const PageSample& sample) const {
    const double weight = sample.Weight();
    HeapEstimate estimate = {};
    estimate.sample = sample;
    estimate.pages = sample.whole && sample.corrupt == 0
                         ? static_cast<double>(packing_.WholePages())
                         : packing_.Pages() * weight;
    estimate.live = static_cast<double>(live_) * weight;
    estimate.dead = static_cast<double>(dead_) * weight;
    estimate.recently_dead = static_cast<double>(recently_dead_) * weight;
    estimate.rows.live = static_cast<double>(rows_) * weight;
    estimate.rows.dead = static_cast<double>(dead_pointers_) * weight;
    estimate.rows.known = known_;
    const uint64 toast = toast_.kept + toast_.dropped;
    if (toast > 0)
      estimate.dropped_share = static_cast<double>(toast_.dropped) / static_cast<double>(toast);
    return estimate;
  }

 private:
  struct OnPage {
    uint32 live, dead, recently_dead, rows, dead_pointers, kept;
    ToastBytes toast;
    uint32 sizes[MaxHeapTuplesPerPage];  // of those that a rewrite keeps
    // By line pointer. What index entries may point to, whether a rewrite keeps the tuple, and
    // where the chain of its HOT updates goes on; 0: nowhere.
    bool is_root[MaxHeapTuplesPerPage + 1];
    bool is_kept[MaxHeapTuplesPerPage + 1];
    OffsetNumber next[MaxHeapTuplesPerPage + 1];
    LiveRows::KnownPage roots;
  };

  void ReadTuple(Buffer buffer, Page page, OffsetNumber number, BlockNumber block, OnPage* now) {
    const ItemId item = PageGetItemId(page, number);
    if (!IsSane(page, item, SizeofHeapTupleHeader))
      RaiseDamage(ERRCODE_DATA_CORRUPTED, "a line pointer leads nowhere");
    HeapTupleData tuple;
    tuple.t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, item));
    tuple.t_len = ItemIdGetLength(item);
    tuple.t_tableOid = RelationGetRelid(relation_);
    ItemPointerSet(&tuple.t_self, block, number);
    const int stored = HeapTupleHeaderGetNatts(tuple.t_data);
    const bool has_nulls = (tuple.t_data->t_infomask & HEAP_HASNULL) != 0;
    const Size header = SizeofHeapTupleHeader + (has_nulls ? BITMAPLEN(stored) : 0);
    if (tuple.t_data->t_hoff < header || tuple.t_data->t_hoff > tuple.t_len ||
        stored > columns_->natts)
      RaiseDamage(ERRCODE_DATA_CORRUPTED, "a tuple's header is wrong");
    now->is_root[number] = !HeapTupleHeaderIsHeapOnly(tuple.t_data);
    if (HeapTupleHeaderIsHotUpdated(tuple.t_data))
      now->next[number] = ItemPointerGetOffsetNumberNoCheck(&tuple.t_data->t_ctid);
    switch (HeapTupleSatisfiesVacuum(&tuple, horizon_, buffer)) {
      case HEAPTUPLE_DEAD:
        ++now->dead;
        return;
      case HEAPTUPLE_RECENTLY_DEAD:
        ++now->recently_dead;
        break;
      case HEAPTUPLE_LIVE:
      case HEAPTUPLE_INSERT_IN_PROGRESS:
      case HEAPTUPLE_DELETE_IN_PROGRESS:
        ++now->live;
        break;
    }
    now->is_kept[number] = true;
    const bool reform = reforms_ || stored < columns_->natts;
    now->sizes[now->kept++] =
        reform ? SizeFormedAnew(columns_, tuple.t_data, tuple.t_len, &now->toast) : tuple.t_len;
  }

  // An index entry leads to a row if the chain that begins here has one.
  static void JudgeRoot(OffsetNumber root, OffsetNumber last, OnPage* now) {
    OffsetNumber number = root;
    for (int steps = 0; number != 0 && number <= last && steps <= last; ++steps) {
      if (now->is_kept[number]) {
        ++now->rows;
        now->roots.SetLive(root);
        return;
      }
      number = now->next[number];
    }
    ++now->dead_pointers;
  }

  void Note(const OnPage& now) {
    live_ += now.live;
    dead_ += now.dead;
    recently_dead_ += now.recently_dead;
    rows_ += now.rows;
    dead_pointers_ += now.dead_pointers;
    toast_.kept += now.toast.kept;
    toast_.dropped += now.toast.dropped;
    for (uint32 i = 0; i < now.kept; ++i) packing_.Add(now.sizes[i]);
    if (known_ != nullptr) known_->Add(now.roots);
  }

  Relation relation_;
  LiveRows* known_;
  TupleDesc columns_;
  TransactionId horizon_;
  bool reforms_;
  HeapPacking packing_;
  uint64 live_ = 0, dead_ = 0, recently_dead_ = 0, rows_ = 0, dead_pointers_ = 0;
  ToastBytes toast_ = {};
};

}  // namespace

HeapEstimate EstimateHeap(Relation relation, Sampling sampling) {
  LiveRows* known = nullptr;
  if (relation->rd_rel->relhasindex) {
    const uint32 most = Min(Min(static_cast<uint32>(sampling.most), LiveRows::kMostPages),
                            RelationGetNumberOfBlocks(relation) + 1);
    auto* room = static_cast<LiveRows::KnownPage*>(palloc(most * sizeof(LiveRows::KnownPage)));
    known = new (palloc(sizeof(LiveRows))) LiveRows(room, most);
  }
  HeapReader reader(relation, known);
  const PageSample sample = ReadSample(relation, sampling.most, sampling.ring, &reader);
  return reader.Result(sample);
}

}  // namespace train_perf
