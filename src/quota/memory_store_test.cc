#include "quota/memory_store.h"

#include <gtest/gtest.h>

#include "base/check.h"
#include "quota/store_contract_test.h"

namespace mete {
namespace {

class MemoryStoreWorld final : public StoreWorld {
 public:
  std::unique_ptr<Store> Open() override { return NewMemoryStore(content_); }

 private:
  const std::shared_ptr<MemoryStoreContent> content_ = NewMemoryStoreContent();
};

INSTANTIATE_TEST_SUITE_P(Memory, StoreContractTest,
                         testing::Values(StoreCase{
                             "memory", [] { return std::make_unique<MemoryStoreWorld>(); }}));

TEST(MemoryStoreTest, OneWithoutContentHasItsOwn) {
  const std::unique_ptr<Store> one = NewMemoryStore(), other = NewMemoryStore();
  LinesOf(*one);
  StoreBatch batch;
  batch.mark.batch = 1;
  ASSERT_TRUE(one->Write(batch));
  EXPECT_NE(LinesOf(*one), LinesOf(*other));
  EXPECT_EQ(one->name(), "memory");
}

struct Failed {};

TEST(MemoryStoreTest, ABatchThatLeavesOneOutIsABug) {
  const CheckHandler old = SetCheckHandler([](const char*, const char*, int) { throw Failed(); });
  const std::unique_ptr<Store> store = NewMemoryStore();
  StoreBatch batch;
  batch.mark.batch = 1;
  EXPECT_THROW((void)store->Write(batch), Failed);  // not loaded
  LinesOf(*store);
  batch.mark.batch = 0;
  EXPECT_THROW((void)store->Write(batch), Failed);
  batch.mark.batch = 2;
  EXPECT_THROW((void)store->Write(batch), Failed);
  batch.mark.batch = 1;
  EXPECT_TRUE(store->Write(batch));
  SetCheckHandler(old);
}

}  // namespace
}  // namespace mete
