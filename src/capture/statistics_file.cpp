#include "capture/statistics_file.hpp"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "capture/capture.hpp"

extern "C" {
#include "port/pg_crc32c.h"
}

namespace train_perf {

namespace {

constexpr char kFile[] = PGSTAT_STAT_PERMANENT_DIRECTORY "/train_perf.stat";
constexpr char kTemporaryFile[] = PGSTAT_STAT_PERMANENT_DIRECTORY "/train_perf.stat.tmp";
constexpr uint32 kFormat = 0x54500001;

// A file whose end is a checksum of all before it.
class File {
 public:
  File(const char* name, const char* mode) : file_(AllocateFile(name, mode)) {
    INIT_CRC32C(checksum_);
  }
  ~File() {
    if (file_ != nullptr) FreeFile(file_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool IsOpen() const noexcept { return file_ != nullptr; }
  bool Write(const void* bytes, size_t size) noexcept {
    COMP_CRC32C(checksum_, bytes, size);
    return fwrite(bytes, 1, size, file_) == size;
  }
  bool Read(void* bytes, size_t size) noexcept {
    if (fread(bytes, 1, size, file_) != size) return false;
    COMP_CRC32C(checksum_, bytes, size);
    return true;
  }
  bool WriteChecksum() noexcept {
    const pg_crc32c sum = checksum_;
    return fwrite(&sum, 1, sizeof(sum), file_) == sizeof(sum) && fflush(file_) == 0;
  }
  bool ChecksumFits() noexcept {
    pg_crc32c sum = 0;
    return fread(&sum, 1, sizeof(sum), file_) == sizeof(sum) && sum == checksum_;
  }

 private:
  FILE* file_;
  pg_crc32c checksum_;
};

struct FileHeader {
  uint32 format;
  int server_version;
  uint32 statement_count;
  uint32 event_count;
  uint64 evicted;
  TimestampTz counting_since;
};

bool WriteBytes(File* file, const std::string& bytes) {
  const auto size = static_cast<uint32>(bytes.size());
  return file->Write(&size, sizeof(size)) && file->Write(bytes.data(), size);
}

// Far above anything that is written: a damaged size must not ask for gigabytes.
constexpr uint32 kMostBytes = 1 << 20;

bool ReadBytes(File* file, std::string* bytes) {
  uint32 size = 0;
  if (!file->Read(&size, sizeof(size)) || size > kMostBytes) return false;
  bytes->resize(size);
  return file->Read(bytes->data(), size);
}

// The part of a snapshot before its histograms is plain data and written as it lies in memory.
constexpr size_t kPlainPart = offsetof(StatementSnapshot, histogram);

bool WriteStatement(File* file, const StatementSnapshot& statement) {
  return file->Write(&statement, kPlainPart) &&
         file->Write(&statement.hash, sizeof(statement.hash)) &&
         file->Write(&statement.encoding, sizeof(statement.encoding)) &&
         WriteBytes(file, statement.histogram.Encode()) &&
         WriteBytes(file, statement.pending_histogram.Encode()) &&
         WriteBytes(file, std::string(statement.text, statement.text_length));
}

bool ReadStatement(File* file, StatementSnapshot* statement) {
  std::string histogram;
  std::string pending;
  std::string text;
  statement->histogram = {};
  statement->pending_histogram = {};
  if (!file->Read(statement, kPlainPart) ||
      !file->Read(&statement->hash, sizeof(statement->hash)) ||
      !file->Read(&statement->encoding, sizeof(statement->encoding)) ||
      !ReadBytes(file, &histogram) || !ReadBytes(file, &pending) || !ReadBytes(file, &text))
    return false;
  if (text.size() > kMaxStatementText || !statement->histogram.MergeEncoded(histogram) ||
      !statement->pending_histogram.MergeEncoded(pending))
    return false;
  memcpy(statement->text, text.data(), text.size());
  statement->text_length = static_cast<uint32>(text.size());
  return true;
}

bool WriteEvent(File* file, Oid database, const QueuedEvent& event) {
  bool written =
      file->Write(&database, sizeof(database)) && file->Write(&event.header, sizeof(event.header));
  for (const std::string& text : event.texts) written = written && WriteBytes(file, text);
  return written;
}

bool ReadEvent(File* file, Oid* database, QueuedEvent* event) {
  bool read =
      file->Read(database, sizeof(*database)) && file->Read(&event->header, sizeof(event->header));
  for (std::string& text : event->texts) read = read && ReadBytes(file, &text);
  return read;
}

bool WriteAll(File* file) {
  const auto statement = std::make_unique<StatementSnapshot>();
  FileHeader header{kFormat, PG_VERSION_NUM,        0,
                    0,       statements->evicted(), statements->counting_since()};
  Settled();
  for (uint32 i = 0; i < statements->capacity(); ++i)
    header.statement_count += statements->Read(i, statement.get()) ? 1 : 0;
  const std::vector<Oid> lanes = events->Databases();
  for (const Oid database : lanes)
    header.event_count += static_cast<uint32>(events->Count(database).queued);
  if (!file->Write(&header, sizeof(header))) return false;
  for (uint32 i = 0; i < statements->capacity(); ++i)
    if (statements->Read(i, statement.get()) && !WriteStatement(file, *statement)) return false;
  for (const Oid database : lanes) {
    for (const QueuedEvent& event : events->Peek(database, PG_UINT32_MAX))
      if (!WriteEvent(file, database, event)) return false;
  }
  return file->WriteChecksum();
}

// Reads the file once to check it and, if `restore`, once more to take it over.
bool ReadAll(File* file, bool restore) {
  FileHeader header{};
  if (!file->Read(&header, sizeof(header)) || header.format != kFormat ||
      header.server_version / 100 != PG_VERSION_NUM / 100)
    return false;
  const auto statement = std::make_unique<StatementSnapshot>();
  for (uint32 i = 0; i < header.statement_count; ++i) {
    if (!ReadStatement(file, statement.get())) return false;
    if (restore) statements->Restore(*statement);
  }
  for (uint32 i = 0; i < header.event_count; ++i) {
    Oid database = InvalidOid;
    QueuedEvent event;
    if (!ReadEvent(file, &database, &event)) return false;
    if (!restore) continue;
    EventTexts texts;
    for (size_t j = 0; j < texts.size(); ++j) texts[j] = event.texts[j];
    events->Open(database);
    events->Enqueue(database, event.header, texts);
  }
  if (!file->ChecksumFits()) return false;
  if (restore) {
    statements->set_evicted(header.evicted);
    statements->set_counting_since(header.counting_since);
  }
  return true;
}

}  // namespace

void SaveStatistics() {
  bool written = false;
  try {
    File file(kTemporaryFile, PG_BINARY_W);
    written = file.IsOpen() && WriteAll(&file);
  } catch (const std::exception&) {
    written = false;
  }
  if (written) {
    durable_rename(kTemporaryFile, kFile, LOG);
  } else {
    ereport(LOG, (errcode_for_file_access(),
                  errmsg("train_perf could not write \"%s\": %m", kTemporaryFile)));
  }
}

void LoadStatistics() {
  bool valid = false;
  try {
    {
      File file(kFile, PG_BINARY_R);
      if (!file.IsOpen()) return;
      valid = ReadAll(&file, false);
    }
    File file(kFile, PG_BINARY_R);
    if (valid && file.IsOpen()) ReadAll(&file, true);
  } catch (const std::exception&) {
    valid = false;
  }
  if (!valid) ereport(LOG, (errmsg("train_perf ignores the invalid file \"%s\"", kFile)));
  unlink(kFile);
}

}  // namespace train_perf
