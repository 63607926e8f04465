/* Rust's standard library calls this function of Windows, and Wine has it only since version 9. It is for tests. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T len) {
    return len <= 0xffffffff && RtlGenRandom(buffer, (ULONG)len);
}
