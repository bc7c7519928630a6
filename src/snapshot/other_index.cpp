#include "snapshot/index_methods.hpp"
namespace train_perf {
static IndexEstimate Same(Relation index, IndexedRows rows) { IndexEstimate e={}; e.sample.blocks=RelationGetNumberOfBlocksInFork(index, MAIN_FORKNUM); e.pages=e.sample.blocks; e.live=rows.live; return e; }
IndexEstimate EstimateHash(Relation i, Sampling, IndexedRows r){return Same(i,r);}
IndexEstimate EstimateGist(Relation i, Sampling, IndexedRows r){return Same(i,r);}
IndexEstimate EstimateGin(Relation i, Sampling, IndexedRows r){return Same(i,r);}
IndexEstimate EstimateSpGist(Relation i, Sampling, IndexedRows r){return Same(i,r);}
IndexEstimate EstimateBrin(Relation i, Sampling, IndexedRows r){return Same(i,r);}
}
