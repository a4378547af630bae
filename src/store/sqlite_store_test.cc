#include "store/sqlite_store.h"

#include <gtest/gtest.h>

#include "quota/store_contract_test.h"
#include "store/store_folder_test.h"

namespace mete {
namespace {

class FolderWorld final : public StoreWorld {
 public:
  std::unique_ptr<Store> Open() override { return store::MustOpen(folder_.PathOf("state")); }

 private:
  const store::TestFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContractTest,
                         testing::Values(StoreCase{
                             "sqlite", [] { return std::make_unique<FolderWorld>(); }}));

}  // namespace
}  // namespace mete
