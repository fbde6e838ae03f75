// cuBLAS and cuBLASLt on the host, as far as tinyvae calls them: the same functions, which check
// what they are given, and compute one sum after the other. Stricter than the real ones: memory to
// work in must be given, and not be that of another stream; a matrix must be aligned as promised.
// With -DREAL_HEADERS the compiler holds the functions to NVIDIA's own declarations.

#ifdef DRIVER  // of which nvmath asks the version; by itself, lest its other names hide cuBLASLt's

extern "C" int cuDriverGetVersion(int* version) {
    *version = 12090;
    return 0;
}

#else

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#ifdef REAL_HEADERS
#include <cublasLt.h>
#include <cublas_v2.h>
static_assert(CUBLAS_STATUS_INVALID_VALUE == 7 && CUBLAS_STATUS_INTERNAL_ERROR == 14, "");
static_assert(CUBLAS_STATUS_NOT_SUPPORTED == 15 && CUBLAS_GEMM_DEFAULT == -1, "");
static_assert(CUBLAS_OP_N == 0 && CUBLAS_OP_T == 1, "");
static_assert(CUDA_R_32F == 0 && CUDA_R_64F == 1, "");
static_assert(CUBLAS_COMPUTE_32F == 68 && CUBLAS_COMPUTE_64F == 70, "");
static_assert(CUBLAS_COMPUTE_32F_FAST_16BF == 75 && CUBLAS_COMPUTE_32F_FAST_TF32 == 77, "");
static_assert(CUBLASLT_MATMUL_DESC_TRANSA == 3 && CUBLASLT_MATMUL_DESC_TRANSB == 4, "");
static_assert(CUBLASLT_MATMUL_DESC_EPILOGUE == 7 && CUBLASLT_MATMUL_DESC_BIAS_POINTER == 8, "");
static_assert(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES == 1, "");
static_assert(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES == 5, "");
static_assert(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES == 8, "");
static_assert(CUBLASLT_EPILOGUE_DEFAULT == 1 && CUBLASLT_EPILOGUE_BIAS == 4, "");
static_assert(CUBLASLT_EPILOGUE_RELU_BIAS == 6, "");
#else
typedef int cublasStatus_t, cublasOperation_t, cudaDataType, cudaDataType_t, cublasComputeType_t;
typedef int cublasGemmAlgo_t, cublasLtMatmulDescAttributes_t, cublasLtMatmulPreferenceAttributes_t;
typedef void *cublasHandle_t, *cublasLtHandle_t, *cudaStream_t;
typedef void *cublasLtMatmulDesc_t, *cublasLtMatrixLayout_t, *cublasLtMatmulPreference_t;
struct cublasLtMatmulAlgo_t {
    uint64_t data[8];
};
struct cublasLtMatmulHeuristicResult_t {
    cublasLtMatmulAlgo_t algo;
    size_t workspaceSize;
    cublasStatus_t state;
    float wavesCount;
    int reserved[4];
};
#endif

static const auto OK = (cublasStatus_t)0, INVALID = (cublasStatus_t)7;
static const auto INTERNAL = (cublasStatus_t)14, NOT_SUPPORTED = (cublasStatus_t)15;
enum { REAL32 = 0, REAL64 = 1, F32 = 68, F64 = 70, BF16 = 75, TF32 = 77, BIAS = 4, RELU = 2 };

struct Matrix {
    const void* at;
    bool transposed;
    int64_t leading;
};

struct Product {
    int type, compute;
    int64_t m, n, k;
    Matrix a, b, c;
    double alpha, beta;
    const void* bias;
    bool relu;
};

// The product, in order

static double rounded(double x, int) { return x; }

static float rounded(float x, int compute) {  // to the bits that a tensor core looks at
    const int dropped = compute == TF32 ? 13 : compute == BF16 ? 16 : 0;
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (dropped) bits = (bits + (1u << (dropped - 1))) >> dropped << dropped;
    std::memcpy(&x, &bits, 4);
    return x;
}

template <class Real> static Real element(const Matrix& x, int64_t row, int64_t column) {
    return ((const Real*)x.at)[x.transposed ? column + row * x.leading : row + column * x.leading];
}

template <class Real> static void compute(const Product& p) {
    for (int64_t j = 0; j < p.n; ++j)
        for (int64_t i = 0; i < p.m; ++i) {
            Real sum = 0;
            for (int64_t l = 0; l < p.k; ++l)
                sum += rounded(element<Real>(p.a, i, l), p.compute) *
                       rounded(element<Real>(p.b, l, j), p.compute);
            Real& c = ((Real*)p.c.at)[i + j * p.c.leading];
            c = Real(p.alpha) * sum + (p.beta ? Real(p.beta) * c : 0);
            if (p.bias) c += ((const Real*)p.bias)[i];
            if (p.relu) c = std::max(c, Real(0));
        }
}

static void run(const Product& p) { p.type == REAL64 ? compute<double>(p) : compute<float>(p); }

// Streams: what is started on the one that is captured is kept for later

static void* captured = nullptr;
static std::vector<std::vector<Product>> graphs;
static std::map<const void*, void*> stream_of_workspace;

extern "C" void host_begin_capture(void* stream) {
    captured = stream;
    graphs.emplace_back();
}

extern "C" int host_end_capture() {
    captured = nullptr;
    return (int)graphs.size() - 1;
}

extern "C" void host_launch(int graph) {
    for (const Product& p : graphs[graph]) run(p);
}

extern "C" void host_free(void* workspace) { stream_of_workspace.erase(workspace); }

static cublasStatus_t start(const Product& p, const void* workspace, void* stream) {
    const int64_t a_rows = p.a.transposed ? p.k : p.m, b_rows = p.b.transposed ? p.n : p.k;
    const bool fits = p.type == REAL64
        ? p.compute == F64
        : p.compute == F32 || p.compute == TF32 || p.compute == BF16;
    if (!fits || p.m < 0 || p.n < 0 || p.k < 0 || !p.a.at || !p.b.at || !p.c.at) return INVALID;
    if (p.a.leading < std::max<int64_t>(1, a_rows) || p.b.leading < std::max<int64_t>(1, b_rows) ||
        p.c.leading < std::max<int64_t>(1, p.m))
        return INVALID;
    if (!workspace || (uintptr_t)workspace % 256) return INTERNAL;
    if (stream_of_workspace.emplace(workspace, stream).first->second != stream) return INTERNAL;
    if (captured && captured == stream)
        graphs.back().push_back(p);
    else
        run(p);
    return OK;
}

static double scalar(const void* x, int type) {
    return type == REAL64 ? *(const double*)x : *(const float*)x;
}

// cuBLAS

struct Handle {
    void *stream, *workspace;
};

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
    if (captured) return INTERNAL;
    *handle = (cublasHandle_t) new Handle();
    return OK;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
    *(Handle*)handle = {(void*)stream, nullptr};
    return OK;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t size) {
    if ((uintptr_t)workspace % 256) return INVALID;
    ((Handle*)handle)->workspace = size ? workspace : nullptr;
    return OK;
}

const char* cublasGetStatusString(cublasStatus_t status) {
    return status == INVALID ? "an invalid value" : "another error";
}

cublasStatus_t cublasGemmEx_64(
    cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int64_t m, int64_t n,
    int64_t k, const void* alpha, const void* A, cudaDataType Atype, int64_t lda, const void* B,
    cudaDataType Btype, int64_t ldb, const void* beta, void* C, cudaDataType Ctype, int64_t ldc,
    cublasComputeType_t computeType, cublasGemmAlgo_t algo) {
    if (Atype != Btype || Atype != Ctype || ((int)Atype != REAL32 && (int)Atype != REAL64))
        return INVALID;
    if ((transa != 0 && transa != 1) || (transb != 0 && transb != 1) || algo != -1) return INVALID;
    const Handle at = *(Handle*)handle;
    const Product p = {
        (int)Atype, (int)computeType, m, n, k,
        {A, transa == 1, lda}, {B, transb == 1, ldb}, {C, false, ldc},
        scalar(alpha, Atype), scalar(beta, Atype), nullptr, false};
    return start(p, at.workspace, at.stream);
}

}  // extern "C"

// cuBLASLt

struct Operation {
    int compute, scale, transa, transb;
    uint32_t epilogue;
    const void* bias;
};

struct Layout {
    int type;
    int64_t rows, columns, leading;
};

struct Preference {
    uint64_t workspace;
    uint32_t aligned[4];  // of A, B, C, D
};

struct Algorithm {  // for what it was chosen
    uint64_t workspace;
    uint32_t aligned[4], bias_aligned, epilogue;
    int32_t compute, transa, transb;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t), "");

static uint32_t alignment(const void* at) {
    const auto address = (uintptr_t)at;
    return (uint32_t)std::min<uintptr_t>(256, address & -address);
}

static cublasStatus_t set(void* to, size_t size, const void* from, size_t given) {
    if (size != given) return INVALID;
    std::memcpy(to, from, size);
    return OK;
}

extern "C" {

size_t cublasLtGetVersion() { return 120903; }

const char* cublasLtGetStatusString(cublasStatus_t status) { return cublasGetStatusString(status); }

const char* cublasLtGetStatusName(cublasStatus_t status) { return cublasGetStatusString(status); }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    if (captured) return INTERNAL;
    *handle = (cublasLtHandle_t) new Handle();
    return OK;
}

cublasStatus_t cublasLtMatmulDescCreate(
    cublasLtMatmulDesc_t* made, cublasComputeType_t compute, cudaDataType_t scale) {
    *made = (cublasLtMatmulDesc_t) new Operation{(int)compute, (int)scale, 0, 0, 1, nullptr};
    return OK;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(
    cublasLtMatmulDesc_t of, cublasLtMatmulDescAttributes_t kind, const void* value, size_t size) {
    Operation& to = *(Operation*)of;
    switch ((int)kind) {
        case 3: return set(&to.transa, 4, value, size);
        case 4: return set(&to.transb, 4, value, size);
        case 7: return set(&to.epilogue, 4, value, size);
        case 8: return set(&to.bias, 8, value, size);
        default: return INVALID;
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(
    cublasLtMatrixLayout_t* made, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld) {
    *made = (cublasLtMatrixLayout_t) new Layout{(int)type, (int64_t)rows, (int64_t)cols, ld};
    return OK;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
    *made = (cublasLtMatmulPreference_t) new Preference{0, {256, 256, 256, 256}};
    return OK;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t gone) {
    delete (Preference*)gone;
    return OK;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t of, cublasLtMatmulPreferenceAttributes_t kind, const void* value,
    size_t size) {
    Preference& to = *(Preference*)of;
    if ((int)kind == 1) return set(&to.workspace, 8, value, size);
    if ((int)kind < 5 || (int)kind > 8) return INVALID;
    return set(&to.aligned[(int)kind - 5], 4, value, size);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
    cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t preference,
    int requested, cublasLtMatmulHeuristicResult_t results[], int* returned) {
    const Operation& o = *(Operation*)desc;
    const Preference& p = *(Preference*)preference;
    *returned = 0;
    if (requested < 1) return INVALID;
    if (o.compute == F64 && o.epilogue != 1) return NOT_SUPPORTED;
    Algorithm algorithm = {p.workspace, {}, alignment(o.bias), o.epilogue, o.compute, o.transa,
                           o.transb};
    std::memcpy(algorithm.aligned, p.aligned, sizeof p.aligned);
    std::memset(&results[0], 0, sizeof results[0]);
    std::memcpy(&results[0].algo, &algorithm, sizeof algorithm);
    results[0].workspaceSize = p.workspace;
    *returned = 1;
    return OK;
}

cublasStatus_t cublasLtMatmul(
    cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha, const void* A,
    cublasLtMatrixLayout_t Adesc, const void* B, cublasLtMatrixLayout_t Bdesc, const void* beta,
    const void* C, cublasLtMatrixLayout_t Cdesc, void* D, cublasLtMatrixLayout_t Ddesc,
    const cublasLtMatmulAlgo_t* algo, void* workspace, size_t size, cudaStream_t stream) {
    const Operation& o = *(Operation*)desc;
    const Layout &a = *(Layout*)Adesc, &b = *(Layout*)Bdesc, &c = *(Layout*)Cdesc;
    const Layout& d = *(Layout*)Ddesc;
    Algorithm chosen;
    std::memcpy(&chosen, algo, sizeof chosen);
    const bool as_planned = chosen.epilogue == o.epilogue && chosen.compute == o.compute &&
                            chosen.transa == o.transa && chosen.transb == o.transb;
    const void* matrices[] = {A, B, C, D};
    for (int i = 0; i < 4; ++i)
        if ((uintptr_t)matrices[i] % chosen.aligned[i]) return INVALID;
    const bool has_bias = o.epilogue & BIAS;
    if (has_bias && (!o.bias || (uintptr_t)o.bias % chosen.bias_aligned)) return INVALID;
    if (!as_planned || size < chosen.workspace + (has_bias ? 16 : 0)) return INVALID;
    const int64_t k = o.transa ? a.rows : a.columns;
    if ((o.transa ? a.columns : a.rows) != d.rows || (o.transb ? b.columns : b.rows) != k ||
        (o.transb ? b.rows : b.columns) != d.columns)
        return INVALID;
    if (a.type != b.type || a.type != c.type || a.type != d.type || a.type != o.scale)
        return INVALID;
    if (c.rows != d.rows || c.columns != d.columns || c.leading != d.leading) return INVALID;
    const Product p = {
        a.type, o.compute, d.rows, d.columns, k,
        {A, o.transa == 1, a.leading}, {B, o.transb == 1, b.leading}, {D, false, d.leading},
        scalar(alpha, a.type), scalar(beta, a.type), has_bias ? o.bias : nullptr,
        (o.epilogue & RELU) != 0};
    return start(p, workspace, (void*)stream);
}

}  // extern "C"

#endif
