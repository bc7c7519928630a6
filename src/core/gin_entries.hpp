// How the entries of a GIN index fill its pages when it is built: they come in the keys' order, and
// a full page is split in halves.
#pragma once

namespace train_perf {

class GinEntryPages {
 public:
  // `capacity` bytes a page; an entry is at most a third of it.
  explicit GinEntryPages(double capacity) : capacity_(capacity) {}

  void Add(double size) noexcept;
  // Pages so far.
  double pages() const noexcept;

 private:
  static constexpr int kMost = 1024;  // entries of a page

  double capacity_;
  double full_ = 0;  // pages
  double used_ = 0;  // bytes of the last one
  int count_ = 0;    // entries of the last one
  double sizes_[kMost];
};

}  // namespace train_perf
